#!/bin/bash
# bench under our own name: requests that reach past the end, depths, what is written.
. "${0%/*}/../tap.sh"

truncate -s 1M a.raw
ok platter bench -f raw -c 1000 -S 6000 -d 1 a.raw
like "$out" 'Sending 1000 read requests, 4096 bytes each, 1 in parallel \(starting at offset 0, step size 6000\)
Run completed in [0-9]+\.[0-9]{3} seconds\.' 'a request without room is moved, not failed'
ok platter bench -f raw -c 10 -o 5M a.raw
exits 1 platter bench -f raw -c 10 -s 2M a.raw
like "$err" 'Failed request: .*past the end' 'one that is larger than the disk'
: >empty
exits 1 platter bench -f raw -c 10 empty
like "$err" 'the disk is empty' 'an empty disk'
exits 1 qimg bench -f raw -c 10 empty
exits 1 platter bench -f raw -c 10 -d 0 a.raw
like "$err" 'Invalid queue depth' 'a depth of none'
exits 1 platter bench -f raw -n a.raw
like "$err" 'requires cache.direct=on' '-n is checked'

# all that is to be written is there, at any depth, whatever the number of flushes
for d in 1 2 32 64 1000; do
	for more in '' '--flush-interval=100' '--flush-interval=100 --no-drain' '-t none' \
		'-t writethrough'; do
		[ $d -le 100 ] || [ -z "$more" ] || continue
		rm -f w
		platter create -q -f qcow2 w 64M
		# shellcheck disable=SC2086
		run platter bench -w --pattern=7 -c 256 -s 4k -S 260k -d $d $more w
		is "$rc$err" 0 "-d $d $more"
		platter convert -q -f qcow2 -O raw w w.raw
		# 260k and 64M: each of the 256 requests has a place of its own
		is "$(tr -d '\0' <w.raw | wc -c) $(tr -d '\7' <w.raw | tr -d '\0' | wc -c)" \
			"$((256 * 4096)) 0" "-d $d $more: all is written, once"
		exits 0 platter check -q w
	done
done

# only what is asked for is written, and the file ends with its last cluster
for t in writeback none; do
	rm -f w
	platter create -q -f qcow2 w 1G
	ok platter bench -w -t $t --pattern=7 -c 100 -S 1028k -d 4 w
	end=$(platter check --output=json w | sed -n 's/.*"image-end-offset": \([0-9]*\).*/\1/p')
	is "$(stat -c %s w)" "$end" "-t $t: no longer than needed"
	[ $t = none ] || ok -n 'holes around the requests' [ "$(du -k w | cut -f 1)" -lt 3000 ]
done

# no more room: an error, and a sound image
rm -f w
platter create -q -f qcow2 w 1G
exits 1 sh -c 'ulimit -f 6000; exec "$0" bench -w -c 200 -S 128k -d 4 w' "$PLATTER"
like "$err" 'File too large' 'a limit is said, not died of'
exits 0 platter check -q w

# an overlay: what is around the request stays
head -c 4M /dev/zero | tr '\0' a >base
platter create -q -f qcow2 -b base -F raw over
ok platter bench -w --pattern=0x62 -c 100 -s 1000 -S 40000 -d 16 over
platter convert -q -O raw over over.raw
is "$(tr -cd a <over.raw | wc -c) $(tr -cd b <over.raw | wc -c)" \
	"$((4 * 1024 * 1024 - 100000)) 100000" 'an overlay: the rest is as below'
is "$(tr -d a <base | wc -c)" 0 'the base is not touched'
done_testing
