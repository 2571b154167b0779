#!/bin/bash
# measure, byte for byte as the peer prints it.
. "${0%/*}/../tap.sh"
skip_unless qemu-img qemu-io
peer_version qemu-img

mkdir "$T/ours"
ln -s ours "$T/peer"
cd "$T/ours" || exit 1

img() { peer create -q -f qcow2 "$@" || fail "create $*"; }
io() { qemu-io "$@" >/dev/null || fail "qemu-io $*"; }

# new images
for size in 0 1 511 512 513 1000 64k 65537 1M 1G 1T 63T 1.5G; do
	same_output measure --size $size -O raw
	same_output measure --size $size -O qcow2
	same_output measure --size $size -O qcow2 -o cluster_size=2M --output=json
	same_output measure --size $size -O qcow2 -o extended_l2=on,cluster_size=128k
	same_output measure --size $size -O qcow2 -o refcount_bits=64,preallocation=metadata
done
same_output measure --size 1G -O qcow2 -o cluster_size=512
same_output measure --size 100T -O qcow2
same_output measure --size 7E -O qcow2
same_output measure --size 7E -O raw
for p in off metadata falloc full; do
	same_output measure --size 1G -O qcow2 -o preallocation=$p
	same_output measure --size 1G -O raw -o preallocation=$p
done
for r in 1 2 4 8 16 32 64; do
	same_output measure --size 3G -O qcow2 -o refcount_bits=$r,cluster_size=4k
done

# existing ones
truncate -s 1M sparse
printf x | dd of=sparse bs=1 seek=70001 conv=notrunc status=none
head -c 70001 /dev/urandom >odd
: >empty
img none 1G
img data 1G
io -c 'write 0 64k' -c 'write 512M 3M' -c 'write -z 1M 1M' data
peer convert -c -O qcow2 data packed
img old -o compat=0.10 1G
io -c 'write 0 64k' old
img -b data -F qcow2 over 2G
io -c 'write 1G 1M' over
img -o preallocation=metadata ahead 64M
img -o extended_l2=on sub 64M
io -c 'write 3k 64k' -c 'write 1M 2k' sub
peer bitmap --add data b0
peer bitmap --add -g 4k data b1
sync .
for i in sparse odd empty none data packed old over ahead sub; do
	same_output measure $i
	same_output measure -O qcow2 $i
	same_output measure -O qcow2 --output=json $i
	same_output measure -O qcow2 -o cluster_size=4k $i
	same_output measure -O qcow2 -o compat=0.10 $i
	same_output measure -O qcow2 -o preallocation=metadata $i
	same_output measure -O qcow2 -o backing_file=none,backing_fmt=qcow2 $i
	same_output measure -O raw --output=json $i
done
same_output measure -U data
same_output measure -f qcow2 -O qcow2 data
same_output measure --output json --force-share -O qcow2 \
	'json:{"driver":"qcow2","file":{"driver":"file","filename":"over"},"backing":null}'
same_output measure --image-opts driver=qcow2,file.filename=data -O qcow2

# arguments
same_output measure
same_output measure a b
same_output measure --size 1G data
for bad in x -1 8E; do
	same_output measure --size $bad
done
same_output measure -O xx --size 1G
same_output measure -o x=y --size 1G
same_output measure -O qcow2 -o x=y --size 1G
same_output measure -O qcow2 -o help
same_output measure -o help data
same_output measure -O qcow2 -o cluster_size=1000 --size 1G
same_output measure --output=x data
same_output measure --size 1G -l x
same_output measure --size 1G -f raw
same_output measure --size 1G --image-opts
same_output measure -f raw --image-opts data
same_output measure -f xx data
same_output measure nofile
same_output measure --size 1G -U
same_output measure --size 1G -O qcow2 -o size=2G
same_output measure --size 1k --size 2G
same_output measure -o '' --size 1G

# the source comes before the target's options; every option's value counts
for a in '-O foo none' '-O raw -o foo=1 none' '-O qcow2 -o lazy_refcounts=maybe --size 4M' \
	'-O qcow2 -o data_file_raw=z --size 4M' '-O qcow2 -o refcount_bits=x --size 4M' \
	'-O qcow2 -o cluster_size=abc --size 4M' '-O foo --size 4M'; do
	# shellcheck disable=SC2086
	same_output -n "refused: $a" measure $a
done
done_testing
