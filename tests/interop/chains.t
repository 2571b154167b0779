#!/bin/bash
# shellcheck disable=SC2054,SC2086,SC2128,SC2178
# Backing chains, 1, 2 and 8 deep, both ways with the peer: overlays smaller and larger
# than what is below, of mixed shapes, in folders of their own.
. "${0%/*}/../tap.sh"
. "$TOP/tests/interop/kit.sh"
skip_unless qemu-img qemu-io python3
peer_version "$PEER"

one_folder
noise ours/base 2500000
shapes=(cluster_size=64k compat=0.10 extended_l2=on cluster_size=512 cluster_size=2M
	extended_l2=on,cluster_size=16k refcount_bits=1 "compression_type=$ZSTD")
sizes=(3000320 2000384 2600448 1500160 4M 1M 5M 3M)

# chain NAME MAKER SHAPES...: as many overlays, each written to
chain() {
	local name=$1 make=$2 below=base fmt=raw n=0 o
	shift 2
	for o; do
		n=$((n + 1))
		"$make" create -q -f qcow2 -o "$o" -b $below -F $fmt "ours/$name$n" \
			"${sizes[n - 1]}" || fail "create $name$n"
		io -c "write -P $n $((n * 90))k 70k" -c "write -z $((n * 77))k 33k" \
			-c "write -P $((n + 100)) 950k 700" "ours/$name$n"
		below=$name$n fmt=qcow2
	done
	top=$name$n
}

# read_both TOP: the chain is the same to the peer, to us and to reader.py
read_both() {
	same_output -n "$1: map" map --output=json "$1"
	same_output -n "$1: map for people" map "$1"
	same_output -n "$1: info" info --backing-chain --output=json "$1"
	same_output -n "$1: check" check --output=json "$1"
	peer convert -O raw "ours/$1" ours/want
	same_disk -n "$1" ours/want "ours/$1"
	ok -n "$1 to raw" qimg convert -O raw "ours/$1" ours/back
	ok -n "$1 to raw: the same" cmp ours/want ours/back
	ok -n "$1: compare" qimg compare -q -F raw "ours/$1" ours/want
	for o in '' -c '-o extended_l2=on' "-c -o compression_type=$ZSTD,cluster_size=4k"; do
		# shellcheck disable=SC2086
		ok -n "$1 to qcow2 $o" qimg convert $o -O qcow2 "ours/$1" ours/w
		ok -n "$1 to qcow2 $o: sound" peer check -q ours/w
		same_disk -n "$1 to qcow2 $o" ours/want ours/w
	done
}

# over TOP BELOW: an overlay with what TOP has above BELOW
over() {
	local o
	for o in '' -c '-o extended_l2=on' '-S 0'; do
		# shellcheck disable=SC2086
		ok -n "$1 over $2 $o" qimg convert $o -B "$2" -F qcow2 -O qcow2 "ours/$1" ours/w
		ok -n "$1 over $2 $o: sound" peer check -q ours/w
		same_disk -n "$1 over $2 $o" ours/want ours/w
	done
}

for make in "$PEER" "$QIMG"; do
	who=${make##*/}
	[ "$make" = "$PEER" ] && who=peer || who=our
	chain ${who}_a "$make" cluster_size=64k
	read_both $top
	chain ${who}_b "$make" extended_l2=on cluster_size=4k
	read_both $top
	over $top ${who}_b1
	chain ${who}_c "$make" "${shapes[@]}"
	read_both $top
	over $top ${who}_c7
done

# Compressed layers, and a file that is not beside.
mkdir ours/sub
peer convert -c -O qcow2 ours/peer_a1 ours/sub/packed
peer create -q -f qcow2 -b packed -F qcow2 ours/sub/on_packed
io -c 'write -P 9 100k 3000' ours/sub/on_packed
peer create -q -f qcow2 -b sub/on_packed -F qcow2 ours/above 6M
io -c 'write -P 10 5M 3000' ours/above
read_both above

# The same disk whatever the number of threads.
for m in 1 2 8 16; do
	qimg convert -m $m -O qcow2 ours/above ours/w$m || fail "-m $m"
	qimg convert -c -m $m -O qcow2 -B sub/on_packed -F qcow2 ours/above ours/o$m ||
		fail "-m $m"
done
ok -n '-m 1, 2, 8 and 16 write the same' \
	sh -c 'cd ours && cmp w1 w2 && cmp w1 w8 && cmp w1 w16'
ok -n 'and the same overlay' sh -c 'cd ours && cmp o1 o2 && cmp o1 o8 && cmp o1 o16'
done_testing
