#!/bin/bash
# check of damaged qcow2 images beside the peer: the same words, counts and exit codes. And
# neither changes the image.
. "${0%/*}/../tap.sh"
skip_unless qemu-img qemu-io python3
peer_version qemu-img

mkdir "$T/ours"
ln -s ours "$T/peer"
cd "$T/ours" || exit 1

img() { peer create -q -f qcow2 "$@" || fail "create $*"; }
io() { qemu-io "$@" >/dev/null || fail "qemu-io $*"; }
base() { cp "$1" "$T/base"; }
# bad NAME STATEMENT...: the base image, damaged
bad() {
	local name=$1
	shift
	cp "$T/base" t
	python3 "$TOP/tests/interop/damage.py" t "$@" || fail "damage: $name"
	cp t before
	same_output -n "$name" check --output=json t
	ok -n "$name: unchanged" cmp t before
}

img a 1M
io -c 'write 0 64k' -c 'write 128k 128k' a
base a
bad 'refcount 2' 'q.sref(5, 2)'
bad 'refcount 0' 'q.sref(5, 0)'
bad 'refcount past the end' 'q.sref(9, 1)' 'q.sref(1000, 3)'
bad 'no copied flag' 'q.sl2(0, q.l2(0) & ~C)'
bad 'no copied flag, L1' 'q.sl1(0, q.l1() & ~C)'
bad 'copied and refcount 2' 'q.sref(4, 2)' 'q.sref(5, 2)'
bad 'data not aligned' 'q.sl2(0, q.l2(0) + 512)'
bad 'data not aligned, zero' 'q.sl2(0, q.l2(0) + 513)'
bad 'data not aligned, no copied flag' 'q.sl2(0, (q.l2(0) & ~C) + 512)'
bad 'data past the end' 'q.sl2(0, 1 << 40 | C)'
bad 'data far past the end' 'q.sl2(0, 1 << 55 | C)'
bad 'data at the end' 'q.sl2(0, 0x80000 | C)'
bad 'reserved bits' 'q.sl2(0, q.l2(0) | 2)' 'q.sl2(2, q.l2(2) | 1 << 58)' 'q.sl2(5, 8)'
bad 'one cluster twice' 'q.sl2(0, q.l2(2))'
bad 'data on L1' 'q.sl2(0, q.l1o | C)'
bad 'data on the header' 'q.sl2(0, C)' 'q.sl2(1, C | 1)'
bad 'L1 reserved bits' 'q.sl1(0, q.l1() | 1 << 58 | 2)'
bad 'L2 not aligned' 'q.sl1(0, q.l1() + 512)'
bad 'L2 past the end' 'q.sl1(0, 1 << 40 | C)'
bad 'L2 at the end' 'q.sl1(0, 0x80000 | C)'
bad 'L2 on L1' 'q.sl1(0, q.l1o | C)'
bad 'L2 on a refcount block' 'q.sl1(0, q.rb() | C)'
bad 'L2 on the refcount table' 'q.sl1(0, q.rto | C)'
bad 'L2 on the header' 'q.sl1(0, C)'
bad 'L2 on data' 'q.sl1(0, q.l2(0))'
bad 'L1 past the end' 'q.w64(40, 1 << 40)'
bad 'L1 at the end' 'q.w64(40, 0x80000)'
bad 'L1 on the header' 'q.w64(40, 0)'
bad 'L1 on data' 'q.w64(40, 0x70000)'
bad 'L1 longer' 'q.w32(36, 100)' 'q.sl1(50, q.l1())'
bad 'L1 too short' 'q.w32(36, 0)'
bad 'refcount block reserved bits' 'q.srb(0, q.rb() | 1)'
bad 'refcount block past the end' 'q.srb(0, 1 << 40)'
bad 'refcount block twice' 'q.srb(1, q.rb())'
bad 'refcount block on data' 'q.srb(100, 0x70000)'
bad 'no refcount block' 'q.srb(0, 0)'
bad 'refcount block not aligned' 'q.srb(0, q.rb() + 512)'
bad 'refcount table on the header' 'q.w64(48, 0)'
bad 'no refcount table' 'q.w32(56, 0)'
bad 'refcount table past the end' 'q.w64(48, 1 << 40)'
bad 'refcount table longer' 'q.w32(56, 2)'
for s in 0x78000 0x70000 0x50000 0x48000 0x40000 0x28000 0x100001; do
	bad "cut to $s" "q.cut($s)"
done
bad 'longer, with leaks' 'q.cut(0x100001)' 'q.sref(9, 1)' 'q.sref(16, 3)' 'q.sref(17, 1)'
bad 'dirty and corrupt' 'q.w64(72, 3)'
bad 'unknown autoclear bits' 'q.w64(88, 1 << 63)'

# the other sizes of things
img -o cluster_size=512 a 1M
io -c 'write 0 256k' a
base a
bad '512: copied flags' 'q.sl2(3, q.l2(3) & ~C)' 'q.sref(300, 7)'
bad '512: no second refcount block' 'q.srb(1, 0)'
bad '512: refcount block on data' 'q.srb(1, 0x39e00)'
img -o cluster_size=1k a 1M
io -c 'write 0 1M' a
base a
bad '1k: second refcount block not aligned' 'q.sl2(3, q.l2(3) & ~C)' 'q.srb(1, q.rb(1) + 512)'
bad '1k: refcount block twice, reserved' 'q.srb(1, q.rb(0) | 1)'
for b in 1 2 4 8 32 64; do
	rm -f a
	img -o refcount_bits=$b a 1M
	io -c 'write 0 64k' -c 'write 128k 128k' a
	base a
	bad "$b bits: twice" 'q.sl2(0, q.l2(2))'
	bad "$b bits: often" '[q.sl2(i, q.l2(2)) for i in range(7)]'
	bad "$b bits: other refcounts" "q.w64(q.rb(), 0x123456789abcdef0)"
done
rm -f a
img a 1G
io -c 'write 0 64k' -c 'write 512M 64k' -c 'write 64k 64k' -c 'write -c 1M 64k' \
	-c 'write 576k 256k' -c 'write 513M 64k' a
base a
bad 'two tables' 'pass'
bad 'L2 twice' 'q.sl1(1, q.l1(0))'
bad 'L2 twice, not copied' 'q.sl1(1, q.l1(0) & ~C)' 'q.sref(4, 2)'

# compressed clusters
rm -f a
img a 1M
io -c 'write 0 1M' a
peer convert -c -O qcow2 a b
base b
bad 'packed: refcount' 'q.sref(5, 1)'
bad 'packed: copied' 'q.sl2(0, q.l2(0) | C)'
bad 'packed: longer' 'q.sl2(0, q.l2(0) + (5 << 54))'
bad 'packed: longest' 'q.sl2(0, q.l2(0) | (255 << 54))'
for off in 0 0x50000 0x5f000 0x60000 0x70000 '(1 << 53) + 1'; do
	bad "packed at $off" "q.sl2(0, Z | $off)"
done

# extended L2 entries
rm -f a
img -o extended_l2=on a 1M
io -c 'write 0 4k' -c 'write 64k 64k' -c 'write -z 128k 2k' -c 'write 192k 2k' a
base a
bad 'wide: sound' 'pass'
bad 'wide: both bits' 'q.sbm(0, q.bm(0) | 1 << 32)'
bad 'wide: bits of no cluster' 'q.sl2(5, 0)' 'q.sbm(5, 1)' 'q.sbm(6, 1 << 40)'
bad 'wide: zero bit' 'q.sl2(6, 1)' 'q.sl2(0, q.l2(0) | 1)'
bad 'wide: no bits' 'q.sbm(0, 0)'
bad 'wide: all at once' 'q.sl2(0, 1 << 40 | 514)' 'q.sbm(0, 1 << 32 | 1)'
bad 'wide: packed with bits' 'q.sl2(0, Z | C | 0x50000)' 'q.sbm(0, 3)'

# an external data file
rm -f a d
img -o data_file=d a 1M
io -c 'write 0 64k' -c 'write 128k 128k' a
base a
bad 'data file: sound' 'pass'
bad 'data file: not copied' 'q.sl2(2, q.l2(2) & ~C)'
bad 'data file: not aligned' 'q.sl2(2, q.l2(2) + 512)'
bad 'data file: packed' 'q.sl2(2, Z | 0x20200)'
bad 'data file: reserved' 'q.sl2(2, q.l2(2) | 1 << 60)'
bad 'data file: none' 'q.sl2(2, 0)' 'q.sl2(3, 1)'

# snapshots
rm -f a
img a 1M
io -c 'write 0 64k' -c 'write 128k 128k' a
for i in 0 1; do
	peer snapshot -c snap$i a
	io -c "write $((512 + 64 * i))k 64k" a
done
base a
bad 'snapshots' 'pass'
bad 'snapshot: copied flag' 'o = q.r64(q.snaps()[0]); q.w64(o, q.r64(o) | C)'
bad 'snapshot: L1 reserved' 'o = q.r64(q.snaps()[0]); q.w64(o, q.r64(o) | 2)'
bad 'snapshot: L2 not aligned' 'o = q.r64(q.snaps()[0]); q.w64(o, q.r64(o) + 512)'
bad 'snapshot: no L2' 'o = q.r64(q.snaps()[0]); q.w64(o, 0)'
bad 'snapshot: L1 past the end' 'q.w64(q.snaps()[0], 1 << 40)'
bad 'snapshot: L1 not aligned' 'o = q.snaps()[1]; q.w64(o, q.r64(o) + 512)'
bad 'snapshot: L1 too large' 'q.w32(q.snaps()[0] + 8, 1 << 30)'
bad 'snapshot: L1 longer' 'q.w32(q.snaps()[0] + 8, 2000)'
bad 'snapshot: L1 empty' 'q.w32(q.snaps()[0] + 8, 0)'
bad 'snapshot: L1 is the active' 'q.w64(q.snaps()[0], q.l1o)'
bad 'snapshots: one less' 'q.w32(60, 1)'
bad 'snapshots: one more' 'q.w32(60, 3)'
bad 'snapshots: past the end' 'q.w64(64, 1 << 40)'
bad 'snapshots: on L1' 'q.w64(64, q.l1o)'
bad 'snapshots: on the header' 'q.w64(64, 0)'
bad 'snapshots: long names' 'q.w32(q.snaps()[1] + 12, 0xffffffff)'

# bitmaps
rm -f a
img a 1M
peer bitmap --add -g 65536 a b0
peer bitmap --add -g 512 a b1
io -c 'write 512k 64k' a
base a
bad 'bitmaps' 'pass'
for v in 0 1 0x50000 '1 << 40'; do
	bad "bitmap: table entry $v" "q.w64(q.r64(q.bitmaps()[0]), $v)"
done
bad 'bitmap: table past the end' 'q.w64(q.bitmaps()[0], 1 << 40)'
bad 'bitmap: in use' 'q.w32(q.bitmaps()[0] + 12, 1)' 'q.w32(q.bitmaps()[0] + 8, 2)'

done_testing
