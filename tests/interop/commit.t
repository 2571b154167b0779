#!/bin/bash
# shellcheck disable=SC2086,SC2094,SC2119,SC2154,SC2238
# commit against the peer: words and exit codes, the resulting base and overlay, whatever their
# formats and sizes; read by the peer and by reader.py.
. "${0%/*}/../tap.sh"
. "$TOP/tests/interop/kit.sh"
skip_unless qemu-img qemu-io python3
peer_version

# ---- words and exit codes ------------------------------------------------------------------
make_chain() {
	mkdir -p d
	peer create -q -f qcow2 base 1M
	peer create -q -f qcow2 -b base -F qcow2 mid
	peer create -q -f qcow2 -b ./mid -F qcow2 top 2M
	qemu-io -c 'write -P 1 0 512k' base
	qemu-io -c 'write -P 2 128k 128k' mid
	qemu-io -c 'write -P 3 192k 128k' -c 'write -P 3 1500k 1k' top
	ln -s base link
	peer create -q -f qcow2 -b "$PWD/base" -F qcow2 d/base
	peer create -q -f qcow2 -b base -F qcow2 d/top
}
export -f peer make_chain
while read -r line; do
	eval "words=($line)"
	twins
	twin bash -c make_chain >make.out
	same_output -n "$line" commit "${words[@]}"
	# places and kinds of zeros may differ
	for i in top mid base; do
		ok -n "$line: $i" peer compare -q ours/$i peer/$i
	done
	is "$(qimg map --output=json ours/top | grep -c '"depth": 0')" \
		"$(qimg map --output=json peer/top | grep -c '"depth": 0')" "$line: emptied or not"
done <<'E2'

top
top mid
nofile
base
mid
d/top
-b base d/top
-b base top
-b ./base top
-b "$PWD/base" top
-b link top
-b mid top
-b ./mid top
-b top top
-b '' top
-b nofile top
-b file:base top
-b d/base d/top
-d top
-d -b base top
-q top
-p -q -d top
-f qcow2 top
-f raw top
-f foo top
-t none top
-t writethrough top
-t foo top
-r 0 top
-r 1G top
-r foo top
-r -1 top
-r foo -t foo nofile
--image-opts driver=qcow2,file.filename=top
--image-opts -f qcow2 top
--nothing top
E2
twins
twin bash -c make_chain >make.out
ok -n '-p: progress as the peer prints it' qimg commit -p ours/top
like "$(tr '\r' '\n' <.out)" '^    \(0.00/100%\)
.*    \(100.00/100%\)

Image committed.$' 'from 0 to 100'

# ---- locks ---------------------------------------------------------------------------------
rm -rf ours peer && one_folder
(cd ours && make_chain) >make.out
held -r mid 'the base is being read' commit top
held '' mid 'the base is being written' commit top
held '' base 'what is below the base is being written' commit top
held -r top 'the image is being read' commit top
rm -rf ours peer

# ---- a raw base that nobody said is raw ------------------------------------------------------
twins
twin bash -c 'truncate -s 1M base
	"$PEER" create -q -f qcow2 -o compat=0.10 -u -b base -F raw top 1M
	# the extension with the format becomes the end mark
	printf "\0\0\0\0\0\0\0\0" | dd of=top bs=1 seek=72 conv=notrunc status=none
	qemu-io -f qcow2 -c "write -P 7 0 64k" top >"$T/io.out"'
same_output -n 'a base that is probed' commit top
ok -n 'is the same' cmp ours/base peer/base
head -c 512 ours/top >head
# shellcheck disable=SC2016
twin bash -c 'qemu-io -f qcow2 -c "write -s $T/head 0 512" top >"$T/io.out"'
same_output -n 'it is not made another format' commit top

# ---- the disks -------------------------------------------------------------------------------
# sound NAME RAW IMAGE
sound() {
	ok -n "$1: the same to the peer" peer compare -q -f raw "$2" "$3"
	same_disk -n "$1: the same to reader.py" "$2" "$3"
	ok -n "$1: sound" peer check -q "$3"
	ok -n "$1: sound to us" qimg check -q "$3"
}

# both NAME BASE ARG...: in m: ours and the peer's commit of top to BASE
both() {
	local name=$1 base=$2
	shift 2
	rm -rf ours peer
	cp -r m ours && cp -r m peer
	peer convert -O raw m/top want
	same_output -n "$name" commit "$@" top
	peer convert -f "${base##*.}" -O raw peer/$base basewant
	ok -n "$name: the base is the peer's" \
		peer compare -q -f raw -F "${base##*.}" basewant ours/$base
	is "$(stat -c %s basewant)" "$(qimg convert -f "${base##*.}" -O raw ours/$base got &&
		stat -c %s got)" "$name: as long"
	[ "${base##*.}" = raw ] || sound "$name, base" basewant ours/$base
	sound "$name, top" want ours/top
	[ $# != 0 ] || ok -n "$name: top is not longer than the peer's" \
		[ "$(stat -c %s ours/top)" -le "$(stat -c %s peer/top)" ]
}

v3=cluster_size=64k v2=cluster_size=64k,compat=0.10
n=0
for top in $v3 $v2 cluster_size=4k cluster_size=128k,extended_l2=on cluster_size=2M; do
	for base in raw:600000: raw:2097152: raw:3000001: qcow2:1M:$v3 qcow2:3M:$v2 \
		qcow2:1500k:cluster_size=2M qcow2:2M:cluster_size=16k,extended_l2=on \
		qcow2:700000:cluster_size=512; do
		n=$((n + 1))
		[ $(((n + n / 8) % 3)) = 0 ] || continue
		rm -rf m && mkdir m
		IFS=: read -r fmt size o <<<"$base"
		(cd m && layer base.$fmt $fmt "$o" "$size" 2 && layer top qcow2 $top 2097152 4 base.$fmt)
		both "$top over $base" base.$fmt
	done
done

# What the overlay does not reach, or what lies below the base and goes on there.
rm -rf m && mkdir m
(cd m && layer low.raw raw '' 3M 1 && layer base.qcow2 qcow2 cluster_size=2M 1500k 2 low.raw &&
	layer top qcow2 $v3 2M 4 base.qcow2)
both 'a base that grows over a longer file' base.qcow2
(cd m && layer base.qcow2 qcow2 $v2 1500k 2 low.raw && layer top qcow2 $v3 2M 4 base.qcow2)
rm -rf ours peer && cp -r m ours && cp -r m peer
same_output -n 'the same without zero clusters' commit top
ok -n 'nothing is lost' peer compare -q m/top ours/top
(cd m && layer base.qcow2 qcow2 cluster_size=64k,extended_l2=on 1000k 2 low.raw &&
	layer top qcow2 $v3 2M 4 base.qcow2)
both 'the same with subclusters' base.qcow2
(cd m && layer base.qcow2 qcow2 $v3 3M 2 low.raw && layer top qcow2 $v3 1M 4 base.qcow2)
both 'a base that is longer' base.qcow2
(cd m && layer base.qcow2 qcow2 $v3 3M 2 low.raw && layer top qcow2 $v3 0 4 base.qcow2)
both 'an overlay of no bytes' base.qcow2

# Chains.
for deep in 2 3 4; do
	for to in 1 2 3; do
		[ $to -lt $deep ] || continue
		rm -rf m && mkdir m && cd m || exit 1
		layer l1.qcow2 qcow2 $v3 1M 1
		for ((i = 2; i <= deep; i++)); do
			layer l$i.qcow2 qcow2 cluster_size=$((1 << (i % 3 * 4 + 3)))k $((4 - i))M $i \
				l$((i - 1)).qcow2
		done
		layer top qcow2 $v3 2M 5 l$deep.qcow2
		cd "$T" || exit 1
		both "$deep deep, into $to" l$to.qcow2 -b l$to.qcow2
	done
	both "$deep deep" l$deep.qcow2
	both "$deep deep, -d" l$deep.qcow2 -d
done

# Compressed clusters and zeros on both sides; snapshots in the overlay.
rm -rf m && mkdir m && cd m || exit 1
layer l.qcow2 qcow2 $v3 2M 1
peer convert -c -O qcow2 l.qcow2 base.qcow2
layer top qcow2 $v3 2M 3 base.qcow2
cd "$T" || exit 1
both 'a compressed base' base.qcow2
(cd m && layer over qcow2 $v3 2M 6 && peer convert -c -O qcow2 over over.c &&
	peer rebase -u -b base.qcow2 -F qcow2 over.c && mv over.c top)
both 'a compressed overlay' base.qcow2
(cd m && layer top qcow2 $v3 2M 3 base.qcow2 && peer snapshot -c one top &&
	qemu-io -c 'write -P 90 100k 400k' top && peer snapshot -c two top &&
	qemu-io -c 'write -P 91 300k 400k' top) >io.out
both 'an overlay with snapshots' base.qcow2
for s in one two; do
	for who in ours peer; do
		peer snapshot -a $s $who/top
		peer convert -O raw $who/top $who.raw
	done
	ok -n "snapshot $s is the peer's" cmp ours.raw peer.raw
	ok -n "snapshot $s: sound" peer check -q ours/top
done

# An external data file.
rm -rf m && mkdir m
(cd m && layer base.raw raw '' 2M 1 && layer top qcow2 data_file=ext.raw 2M 3 base.raw)
ok -n 'an external data file' qimg commit m/top
is "$(qimg map --output=json m/top | grep -c '"depth": 0')" 0 'is emptied'
ok -n 'sound' sh -c 'cd m && "$PEER" check -q top'
done_testing
