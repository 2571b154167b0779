#!/bin/bash
# shellcheck disable=SC2119
# Bitmaps follow what we write as they follow what the peer writes, whatever command writes.
. "${0%/*}/../tap.sh"
. "$TOP/tests/interop/kit.sh"
. "$TOP/tests/interop/bitmaps.sh"
skip_unless qemu-img qemu-io qemu-nbd nbdinfo
peer_version

twins
# ---- live --------------------------------------------------------------------------------------
noise src.raw 5000000
truncate -s 5M src.raw
head -c 100k /dev/zero | dd of=src.raw bs=1k seek=700 conv=notrunc status=none
for o in '' preallocation=metadata preallocation=full cluster_size=512 lazy_refcounts=on \
	cluster_size=16k,extended_l2=on data_file=live.data; do
	fresh ${o:+-o $o} a 5M
	twin peer bitmap --add -g 512 a fine
	twin peer bitmap --add -g 1M a coarse
	twin peer bitmap --add --disable a still
	same_output -n "live, $o" convert -n -f raw -O qcow2 ../src.raw a
	alike a "live, $o"
	(cd ours && ok -n "live, $o: the disk" peer compare -q -f raw -F qcow2 ../src.raw a)
	twin peer bitmap --clear a fine
	same_output -n "live again, $o" convert -n -S 0 -f raw -O qcow2 ../src.raw a
	alike a "live again, $o"
done
fresh a 5M
twin peer bitmap --add -g 512 a fine
same_output -n 'live, compressed' convert -n -c -f raw -O qcow2 ../src.raw a
alike a 'live, compressed'

# ---- other commands that write ------------------------------------------------------------------
done_to() { # NAME ARG...: a is changed in the same way
	local name=$1
	shift
	same_output -n "$name: $*" "$@"
	alike a "$name"
}
fresh a 5M
twin peer bitmap --add -g 512 a fine
twin peer bitmap --add -g 1M a coarse
twin peer bitmap --add --disable a still
write_both -c 'write 0 5M' a
twin peer bitmap --disable a fine
for size in 6M 300M $((300 * 1048576 + 512)); do done_to "grown to $size" resize a $size; done
for size in 301M 5242368 1M 512; do done_to "cut to $size" resize --shrink a $size; done
done_to 'grown again' resize --preallocation=metadata a 3M
in_use 1
done_to 'inconsistent' resize a 4M
done_to 'no other size' resize a 3M
fresh a 1M
twin peer snapshot -c snap a
twin peer bitmap --add --disable a b
done_to 'snapshot -a' snapshot -a snap a
done_to 'snapshot -d' snapshot -d snap a
fresh base 5M
rm -f ours/base peer/base
twin peer create -q -f qcow2 base 5M
twin peer bitmap --add -g 512 base below
twin peer create -q -f qcow2 -b base -F qcow2 a
twin peer bitmap --add -g 64k a top # we rebase whole clusters
write_both -c 'write 100k 10k' -c 'write -z 1M 64k' -c 'write 4M 1M' a
same_output commit a
alike base 'the base of a commit'
alike a 'what was committed'
twin peer create -q -f qcow2 onto 5M
write_both -c 'write 50k 100k' -c 'write 3M 64k' onto
write_both -c 'write 110k 10k' a
same_output rebase -b onto -F qcow2 a
alike a 'a rebase'
done_testing
