#!/bin/bash
# Images with extended L2 entries: all cluster sizes, plain and compressed.
. "${0%/*}/../tap.sh"
. "$TOP/tests/interop/kit.sh"
. "$TOP/tests/interop/matrix.sh"
skip_unless qemu-img qemu-io python3
peer_version "$PEER"

for cl in 16k 32k 64k 128k 256k 512k 1M 2M; do
	matrix extended_l2=on,cluster_size=$cl
	matrix extended_l2=on,cluster_size=$cl -c
	matrix extended_l2=on,compression_type=$ZSTD,cluster_size=$cl -c
done
done_testing
