#!/bin/bash
# Images with reference counts of all widths.
. "${0%/*}/../tap.sh"
. "$TOP/tests/interop/kit.sh"
. "$TOP/tests/interop/matrix.sh"
skip_unless qemu-img qemu-io python3
peer_version "$PEER"

for n in 1 2 4 8 16 32 64; do
	matrix refcount_bits=$n,cluster_size=512
	matrix refcount_bits=$n -c
	matrix refcount_bits=$n,preallocation=metadata,cluster_size=4k
done
matrix lazy_refcounts=on
matrix preallocation=falloc
matrix preallocation=full,extended_l2=on
done_testing
