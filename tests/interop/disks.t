#!/bin/bash
# Real and odd disks, both ways with the peer.
. "${0%/*}/../tap.sh"
. "$TOP/tests/interop/kit.sh"
skip_unless qemu-img qemu-io python3 mke2fs mkfs.fat mcopy
peer_version "$PEER"

# some 25 MiB of whatever this machine has: programs, libraries, texts, links
mkdir -p tree/programs tree/empty
cp -r "$TOP"/{cmd,lib,formats,tests} tree/
find /usr/bin /usr/lib -xdev -type f -readable -size -1500k -printf '%s\t%p\n' 2>/dev/null |
	sort -k 2 | awk -F '\t' '(sum += $1) > 22000000 { exit } { print $2 }' |
	tar cf - -T - 2>/dev/null | tar xf - -C tree/programs
ln -s programs tree/link
truncate -s 3M tree/hole
printf end >>tree/hole

one_folder
mke2fs -q -t ext4 -d tree ours/ext4 48M || fail mke2fs
truncate -s 34M ours/fat
mkfs.fat -F 32 -n PLATTER ours/fat >/dev/null || fail mkfs.fat
mcopy -i ours/fat -s tree/cmd tree/lib tree/formats ::/ || fail mcopy
head -c 8M /dev/zero >ours/zeros
truncate -s 9M ours/hole
head -c 8M /dev/urandom >ours/random
head -c 512 /dev/urandom >ours/sector
head -c 1 /dev/urandom >ours/byte
: >ours/empty
truncate -s $((2 ** 40 + 511)) ours/terabyte
for at in 0 12345 $((2 ** 32 - 1)) $((2 ** 39 + 70001)) $((2 ** 40 + 510)); do
	printf x | dd of=ours/terabyte bs=1 seek=$at conv=notrunc status=none
done

for i in ext4 fat zeros hole random sector byte empty terabyte; do
	both_ways "$i" $i
	both_ways "$i -c" $i -c
	ok -n "$i to raw" qimg convert -f raw -O raw ours/$i ours/back
	ok -n "$i to raw: the same" peer compare -q -f raw -F raw ours/$i ours/back
done
for i in ext4 fat; do
	both_ways "$i, small clusters" $i -o cluster_size=4k,compat=0.10
	both_ways "$i, zstd, large clusters" $i -c -o cluster_size=1M,compression_type=$ZSTD
	both_ways "$i, subclusters" $i -o extended_l2=on
done
both_ways 'zeros, all written' zeros -S 0
both_ways 'terabyte, large clusters' terabyte -o cluster_size=2M

# The file systems in them are sound.
qimg convert -f raw -O qcow2 -c ours/ext4 ours/w
qimg convert -O raw ours/w ours/back
ok -n 'e2fsck of what came back' e2fsck -fn ours/back
qimg convert -f raw -O qcow2 -c ours/fat ours/w
qimg convert -O raw ours/w ours/back
ok -n 'fsck.fat of what came back' fsck.fat -n ours/back
mkdir files
ok -n 'files of the FAT disk' mcopy -i ours/back -s ::/cmd files/
ok -n 'are the same' diff -r tree/cmd files/cmd
done_testing
