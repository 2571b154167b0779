#!/bin/bash
# Images of version 2: all cluster sizes, plain and compressed.
. "${0%/*}/../tap.sh"
. "$TOP/tests/interop/kit.sh"
. "$TOP/tests/interop/matrix.sh"
skip_unless qemu-img qemu-io python3
peer_version "$PEER"

for cl in 512 1k 2k 4k 8k 16k 32k 64k 128k 256k 512k 1M 2M; do
	matrix compat=0.10,cluster_size=$cl
	matrix compat=0.10,cluster_size=$cl -c
done
done_testing
