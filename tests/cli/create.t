#!/bin/bash
# create under our own name: formats by extension, nothing half made, kind words.
. "${0%/*}/../tap.sh"

exits 0 platter create disk.qcow2 1M
is "$err" "platter: writing qcow2, from the name's extension (-f to choose)" 'it says so'
is "$(head -c 4 disk.qcow2 | tr '\373' x)" 'QFIx' 'and does so'
exits 0 platter create disk.raw 1M
like "$err" 'writing raw, from' 'raw'
exits 0 platter create disk 1M
like "$err" 'writing raw, since' 'without an extension'
is "$(stat -c %s disk)" 1048576 'it has its size'
exits 0 platter create -q disk.qcow2 1M
is "$out$err" '' '-q says nothing'
exits 0 platter create -f raw disk.qcow2 1M
is "$err" '' 'nor does -f'
exits 0 qimg create disk.qcow2 1M
is "$out$err" "Formatting 'disk.qcow2', fmt=raw size=1048576" 'as qemu-img it is raw'

# long and short names
exits 0 platter create --format=qcow2 base 2M
for o in '-b base -F qcow2' '--backing base --backing-format qcow2' '--backing=base -B qcow2' \
	'-o backing_file=base,backing_fmt=qcow2' '-o backing_file=base --options backing_fmt=qcow2'; do
	# shellcheck disable=SC2086
	exits 0 -n "$o" platter create -f qcow2 $o over
	like "$out" 'size=2097152 backing_file=base backing_fmt=qcow2 ' 'the same'
done
exits 0 platter create -f qcow2 --quiet -u --backing nosuch -F raw over 1M
exits 0 platter create -f qcow2 -q --backing-unsafe --backing nosuch -F raw over 1M

# A backing file that is the new image itself
exits 1 platter create -f qcow2 -b base -F qcow2 base
like "$err" 'same filename' 'by its name'
exits 1 platter create -f qcow2 -b ./base -F qcow2 base
like "$err" 'same filename' 'by another'
ln base hard
exits 1 platter create -f qcow2 -b hard -F qcow2 base
like "$err" 'same filename' 'by a link'
exits 0 qimg info base

# A data file may be neither the image nor its backing file.
exits 1 platter create -f qcow2 -o data_file=self self 1M
like "$err" 'is the new image' 'a data file'
exits 1 platter create -f qcow2 -o data_file=hard -b base -F qcow2 over
like "$err" 'is the backing file' 'nor the backing file'
exits 0 qimg info base

# A failure leaves what was there, and nothing else.
printf precious >old
exits 1 platter create -f qcow2 -o cluster_size=3 old 1M
is "$(cat old)" precious 'a failed create does not touch the file'
exits 1 platter create -f qcow2 -o compat=v9 new 1M
nok -n 'nor makes a new one' test -e new
exits 1 platter create -f qcow2 none/new 1M
is "$(find . -path ./bin -prune -o -name '*platter*' -print -o -name '.*~' -print)" '' 'no litter'

# Sizes at the edges
for s in 0 1 511 512 513 1000 65537 1.5k 0x400; do
	exits 0 -n "raw of $s" platter create -q -f raw edge "$s"
	exits 0 -n "qcow2 of $s" platter create -q -f qcow2 edge "$s"
	exits 0 qimg info edge
done
exits 0 platter create -q -f raw edge $((2 ** 40 + 511))
exits 0 platter create -q -f qcow2 edge $((2 ** 41 + 511))
like "$(qimg info edge)" 'virtual size: 2 TiB \(2199023256064 bytes\)' 'beyond 2 TiB'
exits 1 platter create -q -f raw edge2 8E
exits 1 platter create -q -f raw edge2 -- -1
exits 1 platter create -q -f raw edge2 7E
nok -n 'nothing of that is left' test -e edge2

# refusals
exits 1 platter create --object secret,id=a -f raw x 1M
like "$err" "Either 'file' or 'data'" 'objects'
exits 1 platter create -f qcow2 -o encrypt.format=luks,encrypt.key-secret=a x 1M
like "$err" "No secret with id 'a'" 'encryption'
exits 1 platter create -f raw
exits 1 platter create -f raw x
like "$err" 'needs a size' 'no size'
exits 1 platter create -f raw x 1M 2M
like "$err" 'Unexpected argument: 2M' 'too much'

exits 0 platter create -o '?' -f qcow2 /dev/null
like "$out" 'cluster_size=<size>' 'how libvirt asks for options'
done_testing
