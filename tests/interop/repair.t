#!/bin/bash
# check -r of damaged qcow2 images beside the peer: the same words, counts and exit codes, and
# the same disk afterwards. What we repaired is as sound to the peer as what it repaired.
. "${0%/*}/../tap.sh"
. "$TOP/tests/interop/kit.sh"
skip_unless qemu-img qemu-io python3
peer_version qemu-img

mkdir "$T/ours" "$T/peer"
damage() { python3 "$TOP/tests/interop/damage.py" "$@" || fail "damage: $*"; }
base() { cp "$1" "$T/base"; }
# bad NAME STATEMENT...: the base image, damaged, repaired by both; $r: what -r is given
r=all
hurt() {
	cp base ours/t
	damage ours/t "$@"
	cp ours/t peer/t
}
same_after() {
	local was=$1
	run peer check ours/t
	local ours=$rc$out$err
	run peer check peer/t
	is "$ours" "$rc$out$err" "$was: as sound as after the peer"
	if peer convert -f qcow2 -O raw peer/t peer/raw 2>/dev/null; then
		ok -n "$was: the same disk" peer compare -q -f raw -F qcow2 peer/raw ours/t
	fi
}
bad() {
	local name="$1 ($r)"
	shift
	hurt "$@"
	same_output -n "$name" check -r $r --output=json t
	same_after "$name"
}
# better NAME STATEMENT...: the peer fails where we do not, or leaves more behind
better() {
	local name=$1
	shift
	hurt "$@"
	exits 0 -n "$name: repaired" qimg check -r all ours/t
	ok -n "$name: sound" peer check -q ours/t
	cp base was
	ok -n "$name: the same disk" peer compare -q was ours/t
}

img a 1M
io -c 'write 0 64k' -c 'write -P 7 128k 128k' a
base a
for r in leaks all; do
	bad 'sound' 'pass'
	bad 'refcount 2' 'q.sref(5, 2)'
	bad 'refcount 0' 'q.sref(5, 0)'
	bad 'both' 'q.sref(5, 2)' 'q.sref(7, 0)'
	bad 'refcount past the end' 'q.sref(9, 1)' 'q.sref(1000, 3)'
	bad 'no copied flag' 'q.sl2(0, q.l2(0) & ~C)'
	bad 'no copied flag, L1' 'q.sl1(0, q.l1() & ~C)'
	bad 'copied and refcount 2' 'q.sref(4, 2)' 'q.sref(5, 2)'
	bad 'copied flag and something worse' 'q.sl2(3, q.l2(3) & ~C)' 'q.sl2(0, q.l2(2))'
	bad 'data not aligned' 'q.sl2(0, q.l2(0) + 512)'
	bad 'data not aligned, zero' 'q.sl2(0, q.l2(0) + 513)'
	bad 'data past the end' 'q.sl2(0, 1 << 40 | C)'
	bad 'reserved bits' 'q.sl2(0, q.l2(0) | 2)' 'q.sl2(2, q.l2(2) | 1 << 58)'
	bad 'one cluster twice' 'q.sl2(0, q.l2(2))'
	bad 'L2 past the end' 'q.sl1(0, 1 << 40 | C)'
	bad 'no refcount block' 'q.srb(0, 0)'
	bad 'refcount block twice' 'q.srb(1, q.rb())'
	bad 'dirty and corrupt' 'q.w64(72, 3)' 'q.sref(4, 2)'
done
bad 'data at the end' 'q.sl2(0, 0x80000 | C)'
bad 'data on L1' 'q.sl2(0, q.l1o | C)'
bad 'data on the header' 'q.sl2(0, C)' 'q.sl2(1, C | 1)'
bad 'zero cluster past the end, not aligned' 'q.sl2(6, 1 << 40 | C | 513)'
bad 'zero cluster, reserved bits' 'q.sl2(6, 0x50200 | C | 9)'
bad 'L1 reserved bits' 'q.sl1(0, q.l1() | 1 << 58 | 2)'
bad 'L2 not aligned' 'q.sl1(0, q.l1() + 512)'
bad 'L2 at the end' 'q.sl1(0, 0x80000 | C)'
bad 'L2 on a refcount block' 'q.sl1(0, q.rb() | C)'
bad 'L2 on the refcount table' 'q.sl1(0, q.rto | C)'
bad 'L1 past the end' 'q.w64(40, 1 << 40)'
bad 'L1 at the end' 'q.w64(40, 0x80000)'
bad 'L1 on the header' 'q.w64(40, 0)'
bad 'L1 on data' 'q.w64(40, 0x70000)'
bad 'L1 longer' 'q.w32(36, 100)' 'q.sl1(50, q.l1())'
bad 'refcount block on data' 'q.srb(100, 0x70000)'
bad 'no refcount table' 'q.w32(56, 0)'
bad 'refcount table past the end' 'q.w64(48, 1 << 40)'
bad 'refcount table longer' 'q.w32(56, 2)'
for s in 0x78000 0x70000 0x50000 0x28000 0x100001; do
	bad "cut to $s" "q.cut($s)"
done
bad 'longer, with leaks' 'q.cut(0x100001)' 'q.sref(9, 1)' 'q.sref(16, 3)' 'q.sref(17, 1)'
hurt 'q.sref(5, 2)' 'q.sref(7, 0)'
same_output -n 'for people' check -r all t
hurt 'q.sref(9, 1)' 'q.sl2(0, q.l2(0) | 2)'
same_output -n 'and with errors that stay' check -r all t
hurt 'q.sref(5, 2)'
same_output -n 'quietly' check -q -r leaks t
for r in some ''; do
	same_output -n "-r '$r'" check -r "$r" t
done
same_output -n 'not with -U' check -r all -U t
truncate -s 1M ours/raw
cp ours/raw peer/raw
same_output -n 'raw has no check' check -r all -f raw raw
same_output -n 'no file' check -r all no-such-file
r=all

better 'refcount block with reserved bits' 'q.srb(0, q.rb() | 1)'
better 'refcount block not aligned' 'q.srb(0, q.rb() + 512)'
better 'refcount block far past the end' 'q.srb(0, 1 << 40)'
is "$(($(stat -c %s ours/t) <= 16 << 16))" 1 'the file is not made a TiB long'

img -o cluster_size=512 b 1M
io -c 'write 0 256k' b
base b
bad '512: copied flags' 'q.sl2(3, q.l2(3) & ~C)' 'q.sref(300, 7)'
bad '512: no second refcount block' 'q.srb(1, 0)'
bad '512: refcount block on data' 'q.srb(1, 0x39e00)'
bad '512: no refcount table' 'q.w(q.rto, bytes(512))'
for b in 1 2 4 8 32 64; do
	img -o refcount_bits=$b b 1M
	io -c 'write 0 64k' -c 'write 128k 128k' b
	base b
	bad "$b bits: twice" 'q.sl2(0, q.l2(2))'
	bad "$b bits: often" '[q.sl2(i, q.l2(2)) for i in range(7)]'
	bad "$b bits: other refcounts" "q.w64(q.rb(), 0x123456789abcdef0)"
	bad "$b bits: none" "q.w(q.rb(), bytes(64))"
done
img b 1G
io -c 'write 0 64k' -c 'write 512M 64k' -c 'write 64k 64k' -c 'write -c 1M 64k' \
	-c 'write 576k 256k' -c 'write 513M 64k' b
base b
bad 'L2 twice' 'q.sl1(1, q.l1(0))'
bad 'L2 twice, not copied' 'q.sl1(1, q.l1(0) & ~C)' 'q.sref(4, 2)'

peer convert -c -O qcow2 a b
base b
bad 'packed: refcount' 'q.sref(5, 1)'
bad 'packed: copied' 'q.sl2(0, q.l2(0) | C)'
bad 'packed: longest' 'q.sl2(0, q.l2(0) | (255 << 54))'
bad 'packed: elsewhere' "q.sl2(0, Z | 0x60000)"

img -o extended_l2=on b 1M
io -c 'write 0 4k' -c 'write 64k 64k' -c 'write -z 128k 2k' -c 'write 192k 2k' b
base b
bad 'wide: both bits' 'q.sbm(0, q.bm(0) | 1 << 32)'
bad 'wide: not aligned' 'q.sl2(6, 0x50200 | C)' 'q.sbm(6, 0xf0 << 32)'
bad 'wide: all at once' 'q.sl2(0, 1 << 40 | 514)' 'q.sbm(0, 1 << 32 | 1)'

img -o compat=0.10 b 1M
io -c 'write 0 64k' -c 'write 128k 128k' b
base b
bad 'version 2' 'q.sl2(0, q.l2(2))' 'q.sref(7, 0)'

img b 1M
io -c 'write 0 64k' -c 'write 128k 128k' b
for i in 0 1; do
	peer snapshot -c snap$i b
	io -c "write $((512 + 64 * i))k 64k" b
done
base b
bad 'snapshot: L1 reserved' 'o = q.r64(q.snaps()[0]); q.w64(o, q.r64(o) | 2)'
bad 'snapshot: no L2' 'o = q.r64(q.snaps()[0]); q.w64(o, 0)'
bad 'snapshot: L1 past the end' 'q.w64(q.snaps()[0], 1 << 40)'
bad 'snapshot: L1 not aligned' 'o = q.snaps()[1]; q.w64(o, q.r64(o) + 512)'
bad 'snapshot: L1 too large' 'q.w32(q.snaps()[0] + 8, 1 << 30)'
bad 'snapshot: L1 empty' 'q.w32(q.snaps()[0] + 8, 0)'
bad 'snapshots: one less' 'q.w32(60, 1)'
bad 'snapshots: one more' 'q.w32(60, 3)'
bad 'snapshots: long names' 'q.w32(q.snaps()[1] + 12, 0xffffffff)'
bad 'snapshots: extra data too large' 'q.w32(q.snaps()[1] + 36, 1500)'
is "$(peer snapshot -l ours/t)" "$(peer snapshot -l peer/t)" 'the same snapshots'
bad 'snapshots: extra data too small' 'q.w32(q.snaps()[1] + 36, 8)'
is "$(peer snapshot -l ours/t)" "$(peer snapshot -l peer/t)" 'the same snapshots'
bad 'snapshots: too many' 'q.w32(60, 70000)'
r=leaks
bad 'snapshots: too many' 'q.w32(60, 70000)'
bad 'snapshots: extra data too large' 'q.w32(q.snaps()[1] + 36, 1500)'
bad 'snapshots: extra data too small' 'q.w32(q.snaps()[1] + 36, 8)'
r=all

# A dirty image that is opened for writing is repaired first, with the same words.
img a 1M
io -c 'write 0 64k' -c 'write 128k 128k' a
base a
truncate -s 1M zeros
for d in pass 'q.sref(9, 1)' 'q.sref(5, 0)' 'q.sl2(0, q.l2(2))' 'q.sl2(0, q.l2(0) | 513)'; do
	hurt 'q.w64(72, 1)' "$d"
	same_output -n "dirty, $d" convert -n -f raw -O qcow2 ../zeros t
	ok -n 'not dirty any more' test "$(od -An -tu1 -j 79 -N 1 ours/t)" -eq 0
	same_after "dirty, $d"
done
hurt 'q.w64(72, 3)'
same_output -n 'dirty and corrupt' convert -n -f raw -O qcow2 ../zeros t
ok -n 'left alone' cmp ours/t peer/t

done_testing
