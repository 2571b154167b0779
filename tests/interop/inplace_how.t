#!/bin/bash
# Writing into images that have something in them, by the options of convert.
. "${0%/*}/../tap.sh"
. "$TOP/tests/interop/kit.sh"
. "$TOP/tests/interop/disks.sh"
skip_unless qemu-img qemu-io python3
peer_version "$PEER"

for i in snapped over; do
	for how in '-S 0' '-m 1' '-m 8 -W' '-t none -T none' '-t writethrough' '-S 64k' -C; do
		disk_fresh $i
		# shellcheck disable=SC2086
		disk_write "$how into $i" $how -f raw -O qcow2 ../holes disk
	done
done
for i in parts packed data_file; do
	disk_fresh $i
	disk_write "-S 0 -W into $i" -S 0 -W -f raw -O qcow2 ../holes disk
done

# The peer refuses to compress over clusters that are there, and a part of a cluster.
for i in small plain packed snapped over parts; do
	disk_fresh $i
	ok -n "-c into $i" qimg convert -n -c -f raw -O qcow2 holes ours/disk
	peer convert -n -f raw -O qcow2 holes peer/disk
	disk_sound "-c into $i"
done
disk_fresh small
ok -n '-c of a part of a cluster' qimg convert -n -c -f raw -O qcow2 dense ours/disk
peer convert -n -f raw -O qcow2 dense peer/disk
disk_sound '-c of a part of a cluster'

for i in small ahead; do
	disk_fresh $i
	disk_write "zeros known in $i" --target-is-zero -f raw -O qcow2 ../holes disk
done
for i in over over_parts; do
	disk_fresh $i
	disk_write "over its backing file: $i" -B base -F raw -f raw -O qcow2 ../holes disk
done
: >none
disk_fresh small
disk_write 'nothing into small' -f raw -O qcow2 ../none disk
truncate -s 3145729 long
disk_fresh small
disk_write 'what does not fit' -f raw -O qcow2 ../long disk

# Whatever the number of threads, the bytes are the same.
for i in snapped parts over bits64; do
	for m in 1 2 8 16; do
		disk_fresh $i
		qimg convert -n -m $m -f raw -O qcow2 holes ours/disk || fail "-m $m into $i"
		cp ours/disk "by$m"
	done
	ok -n "$i: -m 1, 2, 8 and 16 write the same" \
		eval 'cmp by1 by2 && cmp by1 by8 && cmp by1 by16'
done

# An image whose writer died: its counts are wrong, so they are repaired first.
disk_fresh lazy
(
	ulimit -c 0
	qemu-io -c 'write -P 3 2M 512k' -c abort ours/disk >/dev/null 2>&1
) 2>/dev/null
cp ours/disk dirty
ok -n 'a dirty image can be read' qimg convert -O raw ours/disk got.raw
ok -n 'as the peer does' peer compare -q got.raw ours/disk
ok -n 'and left alone' cmp ours/disk dirty
cp dirty peer/disk
same_output -n 'into a dirty image' convert -n -f raw -O qcow2 ../dense disk
ok -n 'it is sound then' peer check -q ours/disk
peer convert -O raw peer/disk want.raw
same_disk want.raw ours/disk

# A bitmap follows what we write.
disk_fresh plain
peer bitmap --add ours/disk b
cp ours/disk peer/disk
same_output -n 'into an image with a bitmap' convert -n -f raw -O qcow2 ../dense disk
peer convert -O raw peer/disk want.raw
same_disk want.raw ours/disk
run peer check ours/disk
unlike "$out$err" 'inconsistent|ERROR|Leaked' 'its bitmap is to be trusted'
done_testing
