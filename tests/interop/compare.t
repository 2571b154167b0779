#!/bin/bash
# compare, byte for byte as the peer prints it.
. "${0%/*}/../tap.sh"
skip_unless qemu-img qemu-io
peer_version qemu-img

mkdir "$T/ours"
ln -s ours "$T/peer"
cd "$T/ours" || exit 1

img() { peer create -q -f qcow2 "$@" || fail "create $*"; }
io() { qemu-io "$@" >/dev/null || fail "qemu-io $*"; }
byte() { printf '\377' | dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }
both() {
	same_output compare "$@"
	same_output compare -s "$@"
}

# where a difference is said to be
head -c 4M /dev/urandom >a
for at in 0 1 511 512 1000 65535 65536 70001 262143 262144 2097151 2097152 3000000 4194303; do
	cp a b
	byte b $at
	cmp -s a b && continue # it was \377
	both a b
done
cp a b
byte b 3500000
byte b 3400000
both a b

# pairs of everything
truncate -s 4M hole one two
byte one 70001
byte two 200001
head -c 4M /dev/zero >zeros
cp zeros late
byte late 3000001
truncate -s 5M longer longer2
byte longer2 4500000
truncate -s 4195000 odd
truncate -s 4195001 odd2
byte odd2 4195000
truncate -s 4194303 short
head -c 1000 a >k1000
head -c 990 a >k990
cp k1000 k1024
truncate -s 1024 k1024
: >empty
truncate -s 1M meg
printf abc >abc
img q_none 4M
img q_zero 4M
io -c 'write -z 1M 64k' q_zero
img q_alloc 4M
io -c 'write 1M 64k' -c 'write -z 1M 64k' q_alloc
img q_ahead -o preallocation=metadata 4M
peer convert -O qcow2 a q_a
peer convert -c -O qcow2 zeros q_packed_zeros -S 0
peer convert -c -O qcow2 late q_packed
peer convert -O qcow2 -o cluster_size=4k,extended_l2=off late q_late
img -b q_a -F qcow2 q_over
img -b q_none -F qcow2 q_over_none 5M
img half 2M
img -b half -F qcow2 q_over_half 4M
sync .
all=(hole one two zeros late longer longer2 odd odd2 short k1000 k990 k1024 empty meg abc
	q_none q_zero q_alloc q_ahead q_packed_zeros q_packed q_late q_over_none q_over_half)
for ((i = 0; i < ${#all[@]}; i++)); do
	for ((j = 0; j < ${#all[@]}; j += 1 + (i + j) % 3)); do
		both "${all[i]}" "${all[j]}"
	done
done
both a q_a
both q_over a
both q_over q_a
same_output compare -q one hole
same_output compare -q a q_a
same_output compare -p -q a q_a
same_output compare -f raw -F qcow2 a q_a
same_output compare -T none a q_a
same_output compare -U a q_a
same_output compare --image-opts driver=raw,file.filename=a driver=qcow2,file.filename=q_a
# steps of the progress differ, the rest does not
same_output -f 's/ {4}\([0-9.]+\/100%\)\r//g' compare -p a q_a
same_output -f 's/ {4}\([0-9.]+\/100%\)\r//g' compare -p one hole
same_output -f 's/ {4}\([0-9.]+\/100%\)\r//g' compare -p hole longer
same_output compare -p empty empty

# damage
img bad 4M
io -c 'write 0 4M' bad
l2() { printf %b "$2" | dd of="$1" bs=1 seek=$((0x40000 + 8)) conv=notrunc status=none; }
cp bad bad_bits && l2 bad_bits '\0200\0\0\0\0\0\001\043'
cp bad bad_out && l2 bad_out '\0200\0\0\0\0120\0\0\0'
cp bad bad_packed && l2 bad_packed '\0100\0\0\0\0\0120\0\0'
for i in bad_bits bad_out bad_packed; do
	same_output compare bad $i
	same_output compare $i bad
	same_output compare $i q_none
done

# arguments
same_output compare
same_output compare a
same_output compare a b c
same_output compare nofile a
same_output compare a nofile
same_output compare -f qcow2 a b
same_output compare -F qcow2 a b
same_output compare -f xx a b
same_output compare -T xx a a
same_output compare -z a a
same_output compare --image-opts -f raw a a

done_testing
