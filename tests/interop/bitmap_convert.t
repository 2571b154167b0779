#!/bin/bash
# shellcheck disable=SC2119
# convert --bitmaps and measure of images with bitmaps, against the peer.
. "${0%/*}/../tap.sh"
. "$TOP/tests/interop/kit.sh"
. "$TOP/tests/interop/bitmaps.sh"
skip_unless qemu-img qemu-io qemu-nbd nbdinfo
peer_version

twins
# ---- convert --bitmaps ---------------------------------------------------------------------------
copied() { # NAME ARG...: into out
	local name=$1
	shift
	rm -f ours/out peer/out
	same_output -f "$words" -n "$name" convert --bitmaps "$@"
	if [ "$rc" = 0 ]; then alike out "$name"; else nok -n "$name: no target" test -e ours/out; fi
}
fresh a 1M
for n in b0 b1 b2; do twin peer bitmap --add -g 4k a $n; done
twin peer bitmap --disable a b1
write_both -c 'write 100k 10k' -c 'write 900k 1' a
copied 'all' -O qcow2 a out
copied 'other clusters' -O qcow2 -o cluster_size=512 a out
copied 'compressed' -c -O qcow2 a out
for m in 1 4; do qimg convert -m $m --bitmaps -O qcow2 ours/a "m$m"; done
ok -n 'the same bytes for any -m' cmp m1 m4
same_output convert --bitmaps -O raw a out
rm -f ours/out peer/out
same_output convert --bitmaps -O qcow2 -o compat=0.10 a out
copied 'two sources' -O qcow2 a a out
copied 'not qcow2' -f raw -O qcow2 a out
copied 'an unknown format' -O foo a out
twin peer create -q -f qcow2 -o compat=0.10 v2 1M
copied 'version 2' -O qcow2 v2 out
twin peer create -q -f qcow2 none 1M
copied 'none at all' -O qcow2 none out
twin peer create -q -f qcow2 -b a -F qcow2 over
twin peer bitmap --add over top
copied 'of the top only' -B a -F qcow2 -O qcow2 over out
twin peer snapshot -c snap a
copied 'with a snapshot' -l snap -O qcow2 a out
for s in 1M 2M; do
	twin peer create -q -f qcow2 out $s
	same_output -n "-n into $s" convert --bitmaps -n -O qcow2 a out
	alike out "-n into $s"
done
same_output convert --bitmaps -n -O qcow2 a out
twin peer create -q -f qcow2 out 1M
twin peer bitmap --add out b2
same_output convert --bitmaps -n -O qcow2 a out
in_use 2
copied 'one is broken' -O qcow2 a out
copied 'which is skipped' --skip-broken-bitmaps -O qcow2 a out
in_use 0
in_use 1
copied 'all are broken' -O qcow2 a out
copied 'and skipped' --skip-broken-bitmaps -q -O qcow2 a out
same_output convert --skip-broken-bitmaps -O qcow2 a out
same_output -n 'measure, all broken' measure -O qcow2 a
fresh a 1M
twin peer bitmap --add -g 512 a odd
write_both -c 'write 1047000 576' a
twin python3 "$TOP/tests/interop/damage.py" a 'q.w64(24, 1048000)'
copied 'a part of a sector' -O qcow2 a out
both --add --merge odd -g 4k a other
cp peer/a ours/a
same_output measure -O qcow2 a
same_output measure --output=json -O qcow2 -o cluster_size=4k a
same_output measure -O qcow2 v2
same_output measure -O qcow2 none
same_output measure -O raw a
same_output measure -O qcow2 -o compat=0.10 a
done_testing
