#!/bin/bash
# cloop beside the peer: images of mkcloop.py, blocks that are carried over, damage.
. "${0%/*}/../tap.sh"
. "$TOP/tests/interop/kit.sh"
skip_unless qemu-img python3
peer_version qemu-img
one_folder
mk() { python3 "$TOP/tests/interop/mkcloop.py" "$@"; }

noise ours/mixed 1300000
: >ours/empty
printf x >ours/one
truncate -s 3M ours/zero
head -c 1048577 ours/mixed >ours/odd
for d in mixed empty one zero odd; do
	for b in 512 65536 1048576; do
		[ $d = mixed ] || [ $b = 65536 ] || continue
		mk -b $b ours/$d ours/x
		for c in info 'info --output=json' 'map --output=json' 'measure -O qcow2' check; do
			# shellcheck disable=SC2086
			same_output -n "$d $b: $c" $c x
		done
		ok -n "$d $b: we read" qimg convert -O raw ours/x ours/back
		ok -n "$d $b: as the peer" peer compare -q -f cloop -F raw ours/x ours/back
		ok -n "$d $b: the same" peer compare -q -f raw -F raw ours/$d ours/back
		ok -n "$d $b: sound" platter check -q ours/x
	done
done
mk ours/mixed ours/x
for m in 1 2 8; do
	qimg convert -m $m -O raw ours/x ours/back
	ok -n "convert -m $m" peer compare -q -f raw -F raw ours/mixed ours/back
done
for o in '' '-o cluster_size=32k'; do
	# shellcheck disable=SC2086
	ok -n "to qcow2 -c $o" qimg convert -c -O qcow2 $o ours/x ours/q
	ok -n "to qcow2 -c $o: sound" peer check -q ours/q
	ok -n "to qcow2 -c $o: the same" peer compare -q -f cloop -F qcow2 ours/x ours/q
done
for a in 'create -f cloop y 1M' 'convert -O cloop mixed y' 'resize -f cloop x 1M' \
	'commit -f cloop x' 'info -f cloop one' 'info -f cloop empty' 'map -f cloop --output=json x'; do
	# shellcheck disable=SC2086
	same_output -n "$a" $a
done

for s in block=0 block=1 block=1000 block=0x4000200 block=0x80000000 block=0xfffffe00 blocks=0 \
	blocks=1 blocks=15 blocks=17 blocks=0x10000000 blocks=0xffffffff blocks=0x20000000 \
	off0=100000000 off0=0xffffffffffffffff off1=0 off2=1 off20=0xffffffffffff off20=100 \
	off3=10000000 off0=0 zip1=255 cut=1; do
	mk -s $s ours/mixed ours/x
	same_output -n "info: $s" info -f cloop x
	same_output -n "map: $s" map --output=json -f cloop x
done
for s in block=512 block=65024 block=0x4000000 off0=0 zip1=255 cut=1 cut=1000 long=1 short=1; do
	mk -s $s ours/mixed ours/x
	exits 1 -n "not to be read: $s" timeout 20 "$QIMG" convert -f cloop -O raw ours/x ours/back
	is "$(wc -l <"$T/.err")" 1 "in one line: $s"
	exits 2 -n "check: $s" platter check -q ours/x
	# the last byte is of a checksum: the data is whole
	[ $s = cut=1 ] || nok -n "nor carried over: $s" timeout 20 "$QIMG" convert -c -f cloop -O qcow2 ours/x ours/q
done
ok -n 'what can be read is salvaged' platter convert --salvage -f cloop -O raw ours/x ours/back
done_testing
