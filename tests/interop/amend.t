#!/bin/bash
# amend beside the peer: the same words and exit codes, and images that are the same to the
# peer afterwards.
. "${0%/*}/../tap.sh"
. "$TOP/tests/interop/kit.sh"
skip_unless qemu-img qemu-io
peer_version "$PEER"

# our options beyond the peer's, and its progress, which has other steps
words='s/\r//g; s/ *\([0-9.]+\/100%\)//g'

# fresh ARG...: an image of the peer's in both folders, with a disk in use
fresh() {
	twins
	twin truncate -s 1M base
	twin "$PEER" create -q -f qcow2 disk "$@"
	twin qemu-io -c 'write -P 7 0 256k' -c 'write -P 8 512k 100k' disk >/dev/null
}

# Where tables share zero clusters that have places, ours gives the places up.
fewer=''
# alike NAME: the image is sound, and to the peer as its own is
alike() {
	local a b f
	ok -n "$1: sound" env -C ours "$PEER" check -q disk
	a=$(cd ours && "$PEER" info --output=json disk | grep -v -e actual-size -e date-)
	b=$(cd peer && "$PEER" info --output=json disk | grep -v -e actual-size -e date-)
	is "$a" "$b" "$1: the same info"
	(cd peer && "$PEER" convert -O raw disk ../want.raw)
	same_disk -n "$1" want.raw ours/disk
	[ -z "$fewer" ] || return
	f='s/.*( allocated|clusters).*/&/; /Image end/d; s/, [0-9.]+% fragmented//'
	a=$(cd ours && "$PEER" check disk | sed -E "$f")
	b=$(cd peer && "$PEER" check disk | sed -E "$f")
	is "$a" "$b" "$1: the same check"
}

# amended ARG...: both do it
amended() {
	same_output -f "$words" amend "$@" disk
	alike "amend $*"
}

# ---- what is asked wrongly -------------------------------------------------------------
fresh 1M
for a in '' disk '-o help' '-o x=y' '-o lazy_refcounts=on a b' '-o lazy_refcounts=on nothere' \
	'-o x -f nothing disk' '-f nothing -o help' '-f raw -o help' '-f qcow2 -o help' \
	'-f qcow2 -o help disk' '-o compat=v3,? disk' '-o foo=bar disk' '-o foo disk' \
	'-o compat=v3, disk' '-f raw -o size=1M base' '-o lazy_refcounts=bar disk' \
	'--image-opts -f qcow2 -o compat=1.1 disk' '-t foo -o compat=1.1 disk' '-U -o x disk' \
	'--nothing disk' '-f raw -o help base' '-p disk'; do
	# shellcheck disable=SC2086
	same_output -f "$words" amend $a
done
same_output amend -o '' disk
same_output amend -o compat=1.1 ''
for o in compat=2 compat= size=1000 size=x refcount_bits=0 refcount_bits=3 refcount_bits=128 \
	refcount_bits=x refcount_bits=16k cluster_size=4k preallocation=metadata extended_l2=on \
	encryption=on encrypt.format=luks encrypt.key-secret=x encrypt.state=active \
	compression_type=zlib backing_file=base backing_file=base,backing_fmt=raw backing_file= \
	backing_fmt=qcow2 data_file=d data_file= data_file_raw=on compat=0.10,lazy_refcounts=on \
	compat=0.10,refcount_bits=8; do
	same_output amend -o "$o" disk
done
alike 'nothing was changed'

# ---- what is possible ------------------------------------------------------------------
for o in compat=1.1 compat=v2 compat=1.1 lazy_refcounts=on lazy_refcounts=off compat=0.10 \
	lazy_refcounts=on compat=0.10 compat=1.1,lazy_refcounts=on,refcount_bits=8,size=3M \
	compat=0.10 compat=0.10,refcount_bits=16,size=2M size=1M size=4M data_file_raw=off; do
	amended -o "$o"
done
fresh 1M
amended -o compat=0.10 -o lazy_refcounts=off
amended -p -o compat=v3
amended -q -t none --force -o refcount_bits=1

for b in 1 4 8 32 64; do
	for from in 1 64; do
		for size in 512 2k; do
			fresh -o refcount_bits=$from,cluster_size=$size 3M
			amended -o refcount_bits=$b
		done
	done
done

# larger than one refcount block, compressed clusters, snapshots
fresh -o cluster_size=512 30M
twin qemu-io -c 'write -P 3 0 20M' disk >/dev/null
for b in 64 1 16; do
	amended -o refcount_bits=$b
done
seq 1 400000 >text
twins
twin "$PEER" convert -c -f raw -O qcow2 -o cluster_size=4k ../text disk
amended -o refcount_bits=32
amended -o refcount_bits=8,lazy_refcounts=on
twin "$PEER" snapshot -c one disk
amended -o compat=0.10
amended -o refcount_bits=16
amended -o compat=0.10
fresh 1M
twin "$PEER" snapshot -c one disk
amended -o refcount_bits=1
twin "$PEER" snapshot -c two disk
twin "$PEER" snapshot -c three disk
amended -o refcount_bits=2
amended -o refcount_bits=4

# ---- down to version 2 -------------------------------------------------------------------
zeros() {
	twin qemu-io -c 'write -z 0 128k' -c 'write -z -u 192k 64k' -c 'write -z 512k 64k' \
		-c 'write -P 3 576k 64k' -c 'write -z 576k 64k' -c 'write -z 900k 100k' disk \
		>/dev/null
}
fresh 1M
zeros
amended -o compat=0.10
fresh -b base -F raw
twin qemu-io -f raw -c 'write -P 9 0 1M' base >/dev/null
zeros
amended -o backing_file=base
amended -o backing_file=base,backing_fmt=raw
amended -o compat=0.10
fresh 1M
zeros
twin "$PEER" snapshot -c one disk
twin qemu-io -c 'write -z 256k 64k' -c 'write -P 1 0 64k' disk >/dev/null
twin "$PEER" snapshot -c two disk
fewer=yes
(cd ours && for s in one two; do "$PEER" convert -l $s -O raw disk ../was_$s; done)
amended -o compat=0.10
for s in one two; do
	same_disk -n "snapshot $s" -l $s was_$s ours/disk
done
amended -o compat=1.1
twin "$PEER" resize -q disk 2M
same_output amend -o compat=0.10 disk
amended -o size=1M
amended -o compat=0.10
fewer=''
fresh -o refcount_bits=8 1M
amended -o compat=0.10
fresh -o extended_l2=on 1M
amended -o compat=0.10
fresh -o preallocation=metadata 1M
amended -o compat=0.10
if [ "$ZSTD" = zstd ]; then
	fresh -o compression_type=zstd 1M
	amended -o compat=0.10
	twins
	twin "$PEER" convert -c -f raw -O qcow2 -o compression_type=zstd ../text disk
	amended -o compat=0.10
fi

# bitmaps go, as with the peer, but nothing of them is left
fresh 1M
twin "$PEER" bitmap --add disk b
same_output amend -o compat=0.10 disk
ok -n 'bitmaps are gone' env -C ours "$PEER" check -q disk
exits 0 env -C ours "$PEER" info disk
is "$err" '' 'and nobody complains of them'

# ---- data files -----------------------------------------------------------------------------
fresh -o data_file=d,data_file_raw=on 1M
amended -o data_file_raw=on
amended -o data_file_raw=off
amended -o compat=0.10
amended -o size=2M
twin cp d e
amended -o data_file=e
same_output amend -o data_file= disk
same_output info --output=json -f qcow2 disk -f qcow2
twins
twin truncate -s 1M d
twin "$PEER" create -q -f qcow2 -o data_file=d disk 1M
same_output amend -o data_file=nothere disk
same_output amend -o size=2M disk
done_testing
