#!/bin/bash
# shellcheck disable=SC2086
# convert -B: sources with no backing file, with one that is shorter, longer or deeper,
# above target backing files of other sizes. What the guest sees is what the peer makes.
. "${0%/*}/../tap.sh"
. "$TOP/tests/interop/kit.sh"
skip_unless qemu-img qemu-io python3
peer_version "$PEER"

one_folder
cd ours || exit 1
noise n1 1000448
noise n2 2500096
tail -c 2500096 n2 | tac -rs . >n3 # other bytes, or it would not show
truncate -s 2500096 n3

qimg convert -q -f raw -O qcow2 n1 short.qcow2
qimg convert -q -f raw -O qcow2 n2 long.qcow2
qimg convert -q -f raw -O qcow2 n3 other.qcow2

# sources: NAME BACKING SIZE OPTIONS
source_() {
	img ${2:+-b "$2" -F qcow2} -o "${4:-cluster_size=64k}" "$1.qcow2" "$3"
	io -c "write -P 5 100k 70k" -c "write -z 300k 200k" -c "write -P 6 1500k 20k" \
		-c "write -z 1600k 3k" -c "discard 130k 64k" "$1.qcow2"
}
source_ alone '' 2M
source_ alone4k '' 2000384 cluster_size=4k
source_ alonesub '' 2M extended_l2=on
source_ onshort short.qcow2 2M
source_ onlong long.qcow2 2M
source_ onlong2M long.qcow2 1800192 cluster_size=2M
source_ deep onlong.qcow2 3M cluster_size=16k

for s in alone alone4k alonesub onshort onlong onlong2M deep; do
	qimg convert -O raw $s.qcow2 $s.raw
	for b in short long other; do
		qimg convert -O raw $b.qcow2 $b.raw
		# The peer's, where both backing files reach; what the source says past that.
		# Where only one of the two has something there, the peer loses or invents it.
		case $s in onshort) end=1000448 ;; deep) end=2097152 ;; *) end=9999999 ;; esac
		[ $b != short ] || end=1000448
		peer convert -O qcow2 -B $b.qcow2 -F qcow2 $s.qcow2 w || fail "$s over $b"
		peer convert -O raw w w.raw
		{
			head -c $end w.raw
			tail -c +$((end + 1)) $s.raw
		} >want
		for o in '' '-o cluster_size=128k' '-o cluster_size=4k,extended_l2=off' \
			'-o extended_l2=on' -c '-S 0' '-S 64k' '-m 1' -W; do
			n="$s over $b $o"
			ok -n "$n" qimg convert $o -O qcow2 -B $b.qcow2 -F qcow2 $s.qcow2 got
			ok -n "$n: the same disk" peer compare -q -F raw got want
			ok -n "$n: sound" peer check -q got
		done
	done
done
# what no layer of the source has is zero, whatever the target lies over
for s in alone alone4k alonesub; do
	qimg convert -O qcow2 -B other.qcow2 -F qcow2 $s.qcow2 got
	ok -n "$s over other: what the source says" peer compare -q got $s.qcow2
done
# into one that exists and has other data past its backing file
for s in alone onshort; do
	img -b short.qcow2 -F qcow2 got 2M
	io -c 'write -P 9 1M 1M' got
	ok -n "$s into an overlay" qimg convert -n -O qcow2 -B short.qcow2 -F qcow2 $s.qcow2 got
	qimg convert -O raw got got.raw
	ok -n "$s into an overlay: the source past its backing file" \
		cmp -i 1000448 got.raw $s.raw
done
done_testing
