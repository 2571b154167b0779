#!/bin/bash
# bochs beside the peer: growing images of mkbochs.py, both versions, damage.
. "${0%/*}/../tap.sh"
. "$TOP/tests/interop/kit.sh"
skip_unless qemu-img python3
peer_version qemu-img
one_folder
mk() { python3 "$TOP/tests/interop/mkbochs.py" "$@"; }

noise ours/mixed 1300000
: >ours/empty
printf x >ours/one
truncate -s 3M ours/zero
head -c 1048577 ours/mixed >ours/odd
for d in mixed empty one zero odd; do
	for o in '' '-1 -r' '-e 512' '-e 4096 -b 600' '-e 8388608'; do
		[ $d = mixed ] || [ "$o" = '' ] || continue
		# shellcheck disable=SC2086
		mk $o ours/$d ours/x
		for c in info 'info --output=json' 'map --output=json' 'measure -O qcow2' check; do
			# shellcheck disable=SC2086
			same_output -n "$d $o: $c" $c x
		done
		ok -n "$d $o: we read" qimg convert -O raw ours/x ours/back
		ok -n "$d $o: as the peer" peer compare -q -f bochs -F raw ours/x ours/back
		ok -n "$d $o: the same" peer compare -q -f raw -F raw ours/$d ours/back
	done
done
mk -e 65536 ours/mixed ours/x
is "$(platter map --output=json ours/x | grep -c '"zero": true')" \
	"$(qimg convert -O qcow2 -o cluster_size=512 ours/x ours/q &&
		qimg map --output=json ours/q | grep -c '"zero": true')" 'our map knows the zeros'
# beyond 2 TiB
mk -e 8388608 -c 524288 -s disk=0x30000000000 ours/mixed ours/x
same_output -n 'large: info' info x
same_output -n 'large: map' map --output=json x
for a in 'create -f bochs y 1M' 'convert -O bochs mixed y' 'resize -f bochs x 1M' \
	'commit -f bochs x' 'info -f bochs one' 'info -f bochs empty'; do
	# shellcheck disable=SC2086
	same_output -n "$a" $a
done

for s in catalog=0 catalog=1 catalog=0xffffffff catalog=0x40000000 catalog=0x100001 catalog=18 \
	extent=0 extent=511 extent=512 extent=513 extent=0x800200 extent=0x80000000 \
	extent=0x1000000 disk=0 disk=1 disk=511 disk=0x8000000000000000 disk=0xffffffffffffffff \
	disk=1000001 bitmap=512 header=1024 version=0x30000 version=0x10000 cat3=5 \
	cat0=0xffffffff; do
	mk -s $s ours/mixed ours/x
	same_output -n "info: $s" info -f bochs x
	[[ $s = *=1024 ]] || same_output -n "map: $s" map --output=json -f bochs x
done
# the peer reads zeros there, or something else
for s in catalog=0x100000 bitmap=0 bitmap=1 bitmap=0xffffffff extent=0x800000 header=0 cat0=1000 \
	cat0=0xfffffffe; do
	mk -s $s ours/mixed ours/x
	exits 1 -n "not to be read: $s" timeout 20 "$QIMG" convert -f bochs -O raw ours/x ours/back
	is "$(wc -l <"$T/.err")" 1 "in one line: $s"
done
done_testing
