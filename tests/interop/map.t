#!/bin/bash
# map, byte for byte as the peer prints it.
. "${0%/*}/../tap.sh"
skip_unless qemu-img qemu-io
peer_version qemu-img

# Both look at the same files.
mkdir "$T/ours"
ln -s ours "$T/peer"
cd "$T/ours" || exit 1

img() { peer create -q -f qcow2 "$@" || fail "create $*"; }
io() { qemu-io "$@" >/dev/null || fail "qemu-io $*"; }
byte() { printf x | dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }
both() {
	same_output map "$@"
	same_output map --output=json "$@"
}

# raw: holes, odd sizes
truncate -s 1M sparse
byte sparse 70001
byte sparse 400000
truncate -s 1000 hole
printf abc >three
: >empty
truncate -s 70001 odd
byte odd 69000
head -c 1000 /dev/urandom >thousand
truncate -s 5T large
byte large 4398046511104
peer create -q -f raw -o preallocation=falloc reserved 1M
sync .
for i in sparse hole three empty odd thousand large reserved; do
	both $i
	both -f raw $i
done
both 'json:{"driver":"raw","offset":4096,"size":131072,"file":{"driver":"file","filename":"sparse"}}'
both --image-opts driver=file,filename=sparse
both --image-opts driver=null-co,size=1M,read-zeroes=on
both --image-opts driver=null-co,size=1M
both --image-opts driver=raw,file.driver=null-aio,file.size=1M,offset=4k
both file:sparse

# windows
for w in '--start-offset=100' '--start-offset 70000 --max-length 1' '-s 1M' '-s 2M' \
	'--max-length=0' '-s 69632 -l 4096' '--start-offset=7E --max-length=7E' '-l 1' '-s 69k -l 300k'; do
	# shellcheck disable=SC2086
	both $w sparse
done

# qcow2: every kind of cluster
img plain 1G
both plain
io -c 'write 0 64k' -c 'write -z 1M 128k' -c 'write -P 5 2M 192k' -c 'write 4M 64k' \
	-c 'write 5M 64k' -c 'write -z 5M 64k' -c 'write -z -u 2M 64k' plain
both plain
both -U plain
both --start-offset=100k --max-length=3M plain
peer convert -c -O qcow2 plain packed
both packed
img -b packed -F qcow2 over
io -c 'write 0 64k' over
both over
img -o extended_l2=on sub 4M
io -c 'write 2k 2k' -c 'write 128k 64k' -c 'write -z 4k 2k' -c 'write -z 140k 4k' sub
both sub
img -o compat=0.10,cluster_size=512 old 1M
io -c 'write 5k 7k' -c 'write 900k 512' old
both old
img -o cluster_size=2M large_cl 1G
io -c 'write 5M 1M' -c 'write 900M 512' large_cl
both large_cl

# room made ahead: where the file has holes, if enough of it is missing
for p in metadata falloc full; do
	img -o preallocation=$p ahead_$p 4M
	both ahead_$p
	io -c 'write -P 3 1M 64k' ahead_$p
	sync ahead_$p
	both ahead_$p
done
img -o preallocation=metadata,cluster_size=4k ahead_small 64M
both ahead_small
img -o preallocation=metadata,refcount_bits=1 ahead_bits 64M
both ahead_bits
img punched 64M
io -c 'write -P 5 0 6400k' punched
fallocate -l "$(stat -c %s punched)" punched
sync punched
for n in 1 9 10 20; do
	cp --sparse=never punched "punched$n"
	fallocate -p -o 1M -l $((n * 65536)) "punched$n"
	sync "punched$n"
	both "punched$n"
done

# an external data file
img -o data_file=ext.raw ext 4M
io -c 'write 64k 128k' -c 'write -z 512k 64k' ext
both ext
img -o data_file=ext2.raw,data_file_raw=on ext2 4M
io -c 'write 64k 128k' -c 'write -z 512k 64k' ext2
both ext2
img -o data_file=ext3.raw,preallocation=metadata ext3 16M
both ext3

# chains, with backing files that are shorter, longer, odd
peer create -q -f raw base 1M
io -f raw -c 'write -P 1 0 128k' -c 'write -P 1 512k 64k' base
img -b base -F raw one 4M
io -c 'write -P 2 64k 64k' -c 'write -z 512k 64k' -c 'write -P 3 2M 64k' one
img -b one -F qcow2 two 8M
io -c 'write -P 3 5M 64k' two
img -b two -F qcow2 three_up 1M
img -b odd -F raw on_odd 4M
img -o extended_l2=on -b base -F raw sub_over 4M
io -c 'write -P 2 70k 4k' -c 'write -z 4k 2k' -c 'write 1100k 2k' -c 'write 200k 2k' sub_over
img half 2M
io -c 'write 0 64k' -c 'write -z 256k 64k' half
img -o extended_l2=on -b half -F qcow2 sub_over2 4M
io -c 'write -P 2 70k 4k' -c 'write -z 4k 2k' -c 'write 1100k 2k' -c 'write 260k 2k' sub_over2
mkdir dir
img -b ../base -F raw dir/rel
img -b "$T/ours/base" -F raw dir/abs
for i in one two three_up on_odd sub_over sub_over2 dir/rel dir/abs ./dir/../dir/rel; do
	both $i
done
both --start-offset=100k --max-length=3M two

# a chain of eight
prev=base
for n in 1 2 3 4 5 6 7 8; do
	img -b $prev -F "$([ $n = 1 ] && echo raw || echo qcow2)" up$n 2M
	io -c "write -P $n $((n * 96))k 64k" up$n
	prev=up$n
done
both up8

# damage: an entry with reserved bits, a cluster outside, a compressed one outside
img bad 4M
io -c 'write 0 4M' bad
l2() { printf %b "$2" | dd of="$1" bs=1 seek=$((0x40000 + 8)) conv=notrunc status=none; }
cp bad bad_bits && l2 bad_bits '\0200\0\0\0\0\0\001\043'
cp bad bad_out && l2 bad_out '\0200\0\0\0\120\0\0\0'
cp bad bad_packed && l2 bad_packed '\0100\0\0\0\0\120\0\0'
for i in bad_bits bad_out bad_packed; do
	both $i
done

# arguments
same_output map
same_output map a b
same_output map nofile
same_output map --output=xx plain
same_output map -f xx plain
same_output map -f qcow2 sparse
same_output map --image-opts -f raw file.filename=sparse
same_output map -z plain
same_output map --foo plain
same_output map --output
for bad in x -1 8E 9999999999999999999999 ''; do
	same_output map --start-offset="$bad" plain
	same_output map --max-length="$bad" plain
done

done_testing
