#!/bin/bash
# Images that lie, so that a write would go over metadata: what we say, do and leave behind
# beside the peer. And the options of an open: the same words for what is wrong with them.
. "${0%/*}/../tap.sh"
. "$TOP/tests/interop/kit.sh"
skip_unless qemu-img qemu-io python3
peer_version "$PEER"

mkdir ours peer
damage() { python3 "$TOP/tests/interop/damage.py" "$@"; }

# Two L2 tables, a snapshot with tables of its own, a bitmap.
img base 2G
io -c 'write -P 1 0 64k' -c 'write -P 2 1G 4k' base
peer snapshot -c one base
io -c 'write -P 3 0 64k' base
peer bitmap --add base bm
truncate -s 2G ours/new ours/table ours/first
printf hello | dd of=ours/new bs=1 seek=1M conv=notrunc status=none
printf hello | dd of=ours/table bs=1 seek=1536M conv=notrunc status=none
printf hello | dd of=ours/first bs=1 seek=0 conv=notrunc status=none
cp --sparse=always ours/new ours/table ours/first peer/

flags_of() { python3 -c '
import sys
f = open(sys.argv[1], "rb")
f.seek(72)
print(f.read(8).hex())' "$1"; }

# lies SOURCE NAME OPTIONS STATEMENT...: SOURCE is written into the damaged image; both
# answer alike, and both mark it or not
lies() {
	local source=$1 name=$2 options=$3
	shift 3
	cp base ours/t
	damage ours/t "$@" || fail "damage: $name"
	cp ours/t peer/t
	same_output -n "$name" convert -n --target-is-zero -f raw --target-image-opts \
		"$source" "driver=qcow2,file.filename=t$options"
	is "$(flags_of ours/t)" "$(flags_of peer/t)" "$name: marked or not"
	if [ "$(flags_of peer/t)" = 0000000000000002 ]; then
		like "$err" 'Marking image as corrupt' "$name: it is said"
	fi
}

dir='q.r64(q.ext(0x23852875) + 16)'
old_l1='q.r64(q.snaps()[0])'
declare -A place=([header]=0 [l1]=q.l1o [l2]='q.l1() & MASK' [table]=q.rto [block]='q.rb()'
	[snapshots]=q.snapo [old_l1]="$old_l1" [old_l2]="q.r64($old_l1) & MASK" [bitmaps]="$dir")
for k in "${!place[@]}"; do
	p=${place[$k]}
	lies new "$k seems free" '' "q.sref(($p) >> 16, 0)"
	lies first "$k is data" '' "q.sl2(0, ($p) | C)"
	# a new table on another: the peer finds out when it is too late, we at once
	[ "$k" = l2 ] || lies table "$k seems free, for a table" '' "q.sref(($p) >> 16, 0)"
done
# marked is marked
lies new 'again' '' 'q.sref(q.l1o >> 16, 0)'
same_output map t
same_output convert -n -f raw -O qcow2 new t
same_output check t
# what these do not guard (the peer's end is chaos where refcounts are written over)
for k in l1 l2 snapshots old_l1 old_l2; do
	for o in none constant cached all; do
		lies first "$k is data, $o" ",overlap-check=$o" "q.sl2(0, (${place[$k]}) | C)"
	done
done
lies new 'the bitmap directory seems free, constant' ',overlap-check.template=constant' \
	"q.sref(($dir) >> 16, 0)"
lies new 'L2 tables of snapshots seem free, all' ',overlap-check.template=all' \
	"q.sref((q.r64($old_l1) & MASK) >> 16, 0)"
lies first 'the header, by its flag' ',overlap-check=none,overlap-check.main-header=on' \
	'q.sref(0, 0)' 'q.sl2(0, 0)'
lies first 'the L1 table, not by its flag' ',overlap-check=all,overlap-check.active-l1=off' \
	'q.sl2(0, q.l1o | C)'

# refcount blocks and tables where others are
for p in 0 q.l1o q.rto 'q.l1() & MASK' "$old_l1"; do
	lies new "refcount block at $p" '' "q.srb(0, $p)"
done
lies new 'a refcount block is not aligned' '' 'q.srb(0, q.rb() + 512)'
lies first 'an L2 table is not aligned' '' 'q.sl1(0, q.l1() + 512)'

# An L2 table on other metadata comes to light when it is written, at the end. The peer says
# so, and that all went well.
for p in q.l1o q.rto 'q.rb()' q.snapo "$old_l1"; do
	cp base ours/t
	damage ours/t "q.sl1(0, ($p) | C)"
	cp ours/t peer/t
	run peer convert -n --target-is-zero -f raw -O qcow2 peer/new peer/t
	theirs=$err
	exits 1 -n "a table at $p" qimg convert -n --target-is-zero -f raw -O qcow2 ours/new ours/t
	is "$(head -n 1 "$T/.err")" "$theirs" "a table at $p: the same words"
	is "$(flags_of ours/t)" 0000000000000002 "a table at $p: marked"
done

# Read-only: said once, and what can be read is read.
read_as() {
	cp base ours/t
	damage ours/t 'q.sl2(0, q.l2(0) + 512)' 'q.sl2(1, 0x7777200 | C)'
	cp ours/t peer/t
	same_output -n "read-only: $*" "$@"
	is "$(flags_of ours/t)" 0000000000000000 "read-only: $*: not marked"
}
read_as convert -O raw t out
read_as compare t first
read_as measure -O qcow2 t
read_as info t

# ---- options that are wrong ------------------------------------------------------------
img -o cluster_size=64k ours/t 64M
cp ours/t peer/t
for o in overlap-check=few overlap-check= overlap-check.template=few \
	overlap-check=all,overlap-check.template=constant \
	overlap-check=all,overlap-check.template=all overlap-check.main-header=maybe \
	overlap-check.few=on overlap-check=all,overlap-check.inactive-l2=off \
	cache-clean-interval={abc,1.5,1k,,0x10,4294967295,4294967296,-1,18446744073709551615} \
	cache-clean-interval=18446744073709551616 \
	l2-cache-entry-size={0,1,511,512,3000,4k,64k,128k} l2-cache-size={0,7,-1,999999999999999} \
	refcount-cache-size={0,99999999999999999,140737488355328} cache-size={0,1M,1E} \
	cache-size=1M,l2-cache-size=2M cache-size=1M,refcount-cache-size=2M cache-size=7,l2-cache-size=7 \
	cache-size=1M,l2-cache-size=1M,refcount-cache-size=1 lazy-refcounts={maybe,1,y} \
	pass-discard-{request,snapshot,other}={maybe,yes} \
	l2-cache-entry-size=1,cache-clean-interval=99999999999 \
	l2-cache-entry-size=1,cache-size=1M,l2-cache-size=2M \
	overlap-check=few,cache-clean-interval=99999999999; do
	same_output map --image-opts "driver=qcow2,file.filename=t,$o"
done
file='"file":{"driver":"file","filename":"t"}'
for o in '"overlap-check":"few"' '"overlap-check":{"template":"all","main-header":false}' \
	'"overlap-check":{"template":"few"}' '"overlap-check":{"active-l1":3}' \
	'"cache-clean-interval":5' '"cache-clean-interval":"5"' '"lazy-refcounts":true'; do
	same_output map "json:{\"driver\":\"qcow2\",$o,$file}"
done
img -o compat=v2 ours/t 64M
cp ours/t peer/t
same_output map --image-opts driver=qcow2,file.filename=t,lazy-refcounts=on

# ---- what discards do ------------------------------------------------------------------
img pre 1M
io -c 'write -P 1 0 1M' pre
truncate -s 1M ours/zeros peer/zeros
punched() { [ "$(stat -c %b "$1")" -lt $((($(stat -c %s "$1") - 500000) / 512)) ]; }
for o in discard={unmap,ignore}{,,pass-discard-request={on,off}} \
	discard=unmap,pass-discard-other=on discard=unmap,pass-discard-snapshot=off; do
	cp --sparse=never pre ours/t
	cp --sparse=never pre peer/t
	sync ours/t peer/t
	same_output convert -n -f raw --target-image-opts zeros "driver=qcow2,file.filename=t,$o"
	sync ours/t peer/t
	punched peer/t && want=0 || want=1
	exits "$want" -n "space is given back as by the peer: $o" punched ours/t
	ok -n "sound: $o" peer check -q ours/t
done
cp --sparse=never pre ours/t
sync ours/t
ok qimg convert -n -f raw --target-image-opts ours/zeros \
	driver=qcow2,file.filename=ours/t,discard-no-unref=on
sync ours/t
ok -n 'no-unref: the space is given back' punched ours/t
ok -n 'no-unref: sound' peer check -q ours/t
ok -n 'no-unref: zeros' peer compare -q -f raw -F qcow2 ours/zeros ours/t
damage ours/t 'print(hex(q.l2(3)), q.ref((q.l2(3) & MASK) >> 16))' >out
is "$(cat out)" '0x8000000000080001 1' 'no-unref: the place is kept'
done_testing
