#!/bin/bash
# File systems that share blocks: a convert there moves no data, and the disk is the same
# to the byte. By many threads at once, since they grow one file.
. "${0%/*}/../tap.sh"
need_loop
skip_unless qemu-img mkfs.xfs mkfs.btrfs
peer_version "$PEER"

cleanup() { ! mountpoint -q "$T/mnt" || umount "$T/mnt"; }
used() { du --block-size=1 "$1" | cut -f1; } # bytes

mkdir "$T/mnt"
for kind in xfs btrfs; do
	truncate -s 400M "$T/$kind.img"
	"mkfs.$kind" -q "$T/$kind.img" 2>/dev/null || "mkfs.$kind" "$T/$kind.img" >/dev/null
	if ! mount -o loop "$T/$kind.img" "$T/mnt" 2>/dev/null; then
		skip 1 "$kind cannot be mounted here"
		continue
	fi
	cd "$T/mnt" || exit 1
	# data, holes, zeros on the disk (small and large), and an odd end
	head -c 20M /dev/urandom >disk.raw
	truncate -s 40M disk.raw
	dd if=/dev/zero of=disk.raw bs=1M seek=40 count=10 conv=notrunc status=none
	dd if=/dev/zero of=disk.raw bs=4k seek=500 count=1 conv=notrunc status=none
	head -c 3333k /dev/urandom >>disk.raw
	sync
	for m in 1 8; do
		ok -n "$kind -m $m: raw to qcow2" platter convert -q -m $m -f raw -O qcow2 disk.raw a.qcow2
		ok -n 'it is sound' peer check -q a.qcow2
		ok -n 'and the same disk' peer compare -q -f raw -F qcow2 disk.raw a.qcow2
		ok -n "$kind -m $m: qcow2 to raw" platter convert -q -m $m -O raw a.qcow2 b.raw
		ok -n 'the same bytes' cmp disk.raw b.raw
		ok -n "$kind -m $m: raw to raw" platter convert -q -m $m -f raw -O raw disk.raw c.raw
		ok -n 'the same bytes' cmp disk.raw c.raw
		ok -n "$kind -m $m: an overlay's clusters of 4k" \
			platter convert -q -m $m -f raw -O qcow2 -o cluster_size=4k disk.raw d.qcow2
		ok -n 'the same disk' peer compare -q -f raw -F qcow2 disk.raw d.qcow2
	done
	ok -n "$kind: zeros in long runs are left out" test "$(used c.raw)" -lt $((25 << 20))
	ok -n "$kind: -S looks for short ones, too" platter convert -q -S 4k -f raw -O raw disk.raw e.raw
	ok -n 'the same bytes' cmp disk.raw e.raw
	ok -n 'and a hole more' test "$(used e.raw)" -lt "$(used c.raw)"
	ok -n "$kind: -S 0 leaves out nothing" platter convert -q -S 0 -f raw -O raw disk.raw f.raw
	ok -n 'the same bytes' cmp disk.raw f.raw
	ok -n 'nothing is a hole' test "$(used f.raw)" -ge "$(stat -c %s f.raw)"
	cd "$T" || exit 1
	umount mnt
	rm "$kind.img"
done
done_testing
