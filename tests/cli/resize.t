#!/bin/bash
# resize: what is ours alone.
. "${0%/*}/../tap.sh"

size() { platter info "$1" | sed -n 's/^virtual size: .*(\([0-9]*\) bytes)/\1/p'; }

ok platter create -q -f qcow2 a.qcow2 1M
for w in '+1M a.qcow2' '-1M a.qcow2'; do
	# shellcheck disable=SC2086
	run platter resize $w
done
is "$(size a.qcow2)" 1048576 'a name is not a size'

# the size and the options in any order
ok platter resize a.qcow2 2M
is "$out" 'Image resized.' 'says so'
ok platter resize a.qcow2 3M -q
is "$out$err" '' '-q says nothing, also behind the size'
ok platter resize a.qcow2 -512k --shrink
ok platter resize --shrink -512k a.qcow2 -q
ok platter resize -f qcow2 -- a.qcow2 +512
is "$(size a.qcow2)" $((2097152 + 512)) 'all of that was done'
ok platter resize --shrink a.qcow2 -- -512
ok platter resize --format qcow2 --quiet --preallocation full a.qcow2 +1M
is "$(size a.qcow2)" 3145728 'and that'

before=$(cksum <a.qcow2)
exits 1 platter resize a.qcow2 1M
like "$err" 'Use the --shrink option' 'smaller only on demand'
exits 1 platter resize a.qcow2
exits 1 platter resize
exits 1 platter resize a.qcow2 b.qcow2 1M
exits 1 platter resize a.qcow2 none
exits 1 platter resize a.qcow2 -4G
exits 1 platter resize no-such-file 1M
exits 1 platter resize --object secret,id=a a.qcow2 4M
is "$(cksum <a.qcow2)" "$before" 'and the image is as it was'
ok platter resize --help
like "$out" '--shrink' 'help'

# a read-only file
if [ "$(id -u)" != 0 ]; then
	chmod 444 a.qcow2
	exits 1 platter resize a.qcow2 4M
	chmod 644 a.qcow2
else
	skip 1 'root writes read-only files'
fi

# the file becomes shorter with the disk, and what was behind the end stays away
head -c 4M /dev/urandom >raw
ok platter convert -q -f raw -O qcow2 raw b.qcow2
ok platter resize -q --shrink b.qcow2 1000448
ok [ "$(stat -c %s b.qcow2)" -lt 1500000 ]
ok platter check -q b.qcow2
ok platter resize -q b.qcow2 4M
ok platter convert -q -O raw b.qcow2 back
head -c 1000448 raw >want
truncate -s 4M want
ok -n 'zeros behind the old end' cmp want back
ok platter check -q b.qcow2

# also where a backing file, or a snapshot, goes on behind it
ok platter create -q -f qcow2 -b raw -F raw over.qcow2 1000448
ok platter resize -q over.qcow2 3M
ok platter convert -q -O raw over.qcow2 back
truncate -s 3M want
ok -n 'zeros over a longer backing file' cmp want back
ok platter check -q over.qcow2

# a device is as long as it is
if [ "$(id -u)" = 0 ] && dev=$(losetup -f --show raw 2>/dev/null); then
	exits 1 platter resize -f raw "$dev" 8M
	like "$err" 'Cannot resize device files' 'a device'
	ok platter resize -f raw "$dev" 4M
	exits 1 platter resize -f raw --shrink "$dev" 1M
	ok platter create -q -f qcow2 "$dev" 1M
	ok platter resize -q "$dev" 3M
	ok platter resize -q --preallocation=metadata "$dev" 3500k
	ok platter resize -q --shrink "$dev" 1M
	ok platter check -q "$dev"
	losetup -d "$dev"
else
	skip 8 'no loop devices here'
fi
done_testing
