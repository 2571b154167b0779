#!/bin/bash
# Writing into images that the peer made and that have something in them: convert -n, with
# the peer beside us on a copy. Contents, snapshots and reference counts must stay sound.
. "${0%/*}/../tap.sh"
. "$TOP/tests/interop/kit.sh"
. "$TOP/tests/interop/disks.sh"
skip_unless qemu-img qemu-io python3
peer_version "$PEER"

for i in "${disks[@]}"; do
	disk_make "$i"
	disk_fresh "$i"
	disk_write "dense into $i" -f raw -O qcow2 ../dense disk
done
for i in larger zeros snapped snapped_packed parts snapped_parts over over_parts over_packed \
	data_file ahead; do
	disk_fresh "$i"
	disk_write "holes into $i" -f raw -O qcow2 ../holes disk
done
done_testing
