#!/bin/bash
# Images compressed with zstd: all cluster sizes.
. "${0%/*}/../tap.sh"
. "$TOP/tests/interop/kit.sh"
. "$TOP/tests/interop/matrix.sh"
skip_unless qemu-img qemu-io python3
[ $ZSTD = zstd ] || skip_all 'this build has no zstd'
peer_version "$PEER"

for cl in 512 1k 2k 4k 8k 16k 32k 64k 128k 256k 512k 1M 2M; do
	matrix compression_type=zstd,cluster_size=$cl -c
done
# it is only a word where nothing is compressed
matrix compression_type=zstd
done_testing
