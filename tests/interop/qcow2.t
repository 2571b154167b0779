#!/bin/bash
# qcow2 beside the peer: new images equal byte for byte, the same words for headers that
# are damaged, and what a writer must keep or clear in a header.
. "${0%/*}/../tap.sh"
skip_unless qemu-img qemu-io python3
peer_version qemu-img

twins
head -c 1M /dev/urandom >base.raw

# ---- new images -------------------------------------------------------------------------
# equal OPTIONS SIZE [ARG...]: both create new (and perhaps new.d), the files are the same
equal() {
	local o=$1 d f bad=''
	shift
	for d in ours peer; do
		rm -rf "${T:?}/$d"
		mkdir "$T/$d"
		cp base.raw "$T/$d"
	done
	(cd ours && "$QIMG" create -q -f qcow2 ${o:+-o "$o"} "${@:2}" new "$1") || bad='ours fails'
	(cd peer && "$PEER" create -q -f qcow2 ${o:+-o "$o"} "${@:2}" new "$1") || bad='theirs fails'
	for f in new new.d; do
		[ -e ours/$f ] || [ -e peer/$f ] || continue
		cmp ours/$f peer/$f >.cmp 2>&1 || bad+=" $(cat .cmp)"
	done
	is "$bad" '' "the same file: create -o '$o' $*"
}

for c in 512 1k 4k 8k 64k 2M; do
	for s in 0 1000 1G; do
		equal cluster_size=$c $s
	done
done
for b in 1 2 4 8 32 64; do
	equal refcount_bits=$b,cluster_size=512 100M
done
for o in '' compat=0.10 lazy_refcounts=on extended_l2=on extended_l2=on,cluster_size=16k \
	compression_type=zstd data_file=new.d data_file=new.d,data_file_raw=on; do
	for p in off metadata falloc full; do
		case $p,$o in
		full,?*) continue ;;
		esac
		equal "${o:+$o,}preallocation=$p" 10M
		# (the peer lets the data file end with a cluster, not with the disk)
		[[ $o = data* ]] || equal "${o:+$o,}preallocation=$p" 10000000
	done
done
equal '' 64T
equal cluster_size=2M 1P
equal preallocation=metadata 5G
equal extended_l2=on,preallocation=metadata 1100M
equal '' 5M -b base.raw -F raw
equal compat=0.10,cluster_size=512 1M -b base.raw -F raw
equal extended_l2=on,preallocation=metadata 3M -b base.raw -F raw

# ---- headers ----------------------------------------------------------------------------
rm -rf ours peer
mkdir ours
ln -s ours peer
cd ours || exit 1
"$PEER" create -q -f qcow2 base 64M
qemu-io -f qcow2 -c 'write -P 7 1M 200k' base >/dev/null
"$PEER" create -q -f qcow2 -o compat=0.10 base2 64M

# hurt FROM STATEMENT...: a copy of FROM, damaged, is t
hurt() {
	cp "$1" t
	python3 "$TOP/tests/interop/damage.py" t "${@:2}" || fail "damage: ${*:2}"
}
# both STATEMENT...: info and map have the peer's words and exit code
both() {
	hurt base "$@"
	same_output -n "info: $*" info -f qcow2 t
	same_output -n "map: $*" map -f qcow2 t
}
# info_only STATEMENT...: info as the peer; whoever needs the tables is told, too
info_only() {
	hurt base "$@"
	same_output -n "info: $*" info -f qcow2 t
	exits 1 -n "map: $*" qimg map -f qcow2 t
	like "$err" "^qemu-img: Could not open 't': [^
]+$" "one line: $*"
}

both 'q.w32(0, 5)'
both 'q.w32(4, 1)'
both 'q.w32(4, 4)'
for b in 0 8 22 63 4294967295; do both "q.w32(20, $b)"; done
for n in 0 96 103 65544 4294967288; do both "q.w32(100, $n)"; done
both 'q.w32(100, 65536)'
both 'q.w64(8, 70000)' 'q.w32(16, 9)'
both 'q.w64(8, 65530)' 'q.w32(16, 9)'
both 'q.w64(8, 4096)' 'q.w32(16, 1024)'
both 'q.w64(8, 4096)' 'q.w32(16, 4294967295)'
both 'q.w64(8, 1 << 63)' 'q.w32(16, 9)'
for f in 32 0xffe0 '1 << 63' 0xffffffffffffffe0 16 8; do both "q.w64(72, $f)"; done
both 'q.w32(20, 13)' 'q.w64(72, 16)'
both 'q.w(104, b"\1")'
both 'q.w(104, b"\2")' 'q.w64(72, 8)'
both 'q.w32(96, 7)'
both 'q.w32(32, 3)'
both 'q.w32(56, 0)'
both 'q.w32(56, 129)'
both 'q.w32(56, 4294967295)'
both 'q.w64(48, 65537)'
both 'q.w64(48, 1 << 63)'
both 'q.w32(60, 65537)'
both 'q.w32(60, 1)' 'q.w64(64, 65537)'
both 'q.w32(60, 1)' 'q.w64(64, 1 << 63)'
both 'q.w32(36, 0x400001)'
both 'q.w32(36, 0)'
both 'q.w64(40, 3 * 65536 + 1)'
both 'q.w64(40, 1 << 63)'
for s in '1 << 63' '1 << 62' '1 << 60' '(512 << 20) + 1'; do both "q.w64(24, $s)"; done
for s in 0 512 1000 '512 << 20'; do both "q.w64(24, $s)"; done
both 'q.w64(88, 4)'
both 'q.w64(80, 6)'

# tables that are not in the file: the peer reads zeros there, we say so
info_only 'q.w64(40, 1 << 40)'
info_only 'q.w64(40, 0)'
info_only 'q.w32(36, 0x400000)'
info_only 'q.w64(48, 1 << 40)'
info_only 'q.w64(48, 0)'
info_only 'q.w32(56, 128)'
info_only 'q.w64(88, 2)'
hurt base 'q.w64(40, 1 << 40)'
exits 1 -n 'L1 table past the end: map' qimg map -f qcow2 t
is "$err" "qemu-img: Could not open 't': Active L1 table at 0x10000000000 (8 bytes) is beyond\
 the end of the file (589824 bytes)" 'L1 table past the end: what, where, how long'

# header extensions
ext='
def e(kind, n, data): return struct.pack(">II", kind, n) + data + bytes(-len(data) % 8)
def put(*a): q.w(112, b"".join(a) + bytes(16))
'
exts() { both "$ext" "put($1)" "${@:2}"; }
exts ''
for n in 15 16 20; do exts "e(0xe2792aca, $n, b'q' * $n)"; done
exts 'e(77, 5, b"hello")'
exts 'e(77, 70000, b"hello")'
exts 'e(77, 0xffffffff, b"hello")'
exts 'e(9, 65536 - 120, b"")'
exts 'e(9, 65536 - 124, b"")'
exts 'e(9, 65536 - 128, b"")'
exts 'e(9, 5000, bytes(5000))' 'q.w64(8, 4096)' 'q.w32(16, 5)'
exts 'e(0xe2792aca, 3, b"raw"), e(0xe2792aca, 5, b"qcow2")'
names='b"".join(struct.pack("BB46s", *x) for x in
	[(0, 5, b"hello"), (0, 7, b"w" * 46), (1, 5, b"compat"), (0, 0, b"y"), (3, 6, b"z")])'
exts "e(0x6803f857, 240, $names)" 'q.w64(72, 0x3e0)'
exts "e(0x6803f857, 240, $names)" 'q.w64(72, 0x20)'
exts "e(0x6803f857, 5, b'hello')" 'q.w64(72, 0x20)'
exts 'e(0x0537be77, 5, b"hello")'
exts 'e(0x0537be77, 16, bytes(16))'
exts 'e(0x0537be77, 5, b"hello")' 'q.w32(32, 2)'
bm() { exts "e(0x23852875, 24, struct.pack('>IIQQ', $1))" 'q.w64(88, 1)'; }
exts 'e(0x23852875, 5, b"hello")' 'q.w64(88, 1)'
exts 'e(0x23852875, 5, b"hello")'
bm '0, 0, 32, 65536'
bm '65536, 0, 32, 65536'
bm '1, 1, 32, 65536'
bm '1, 0, 32, 65537'
bm '1, 0, 1 << 40, 65536'

# version 2 has none of the later fields
cp base base.v3
cp base2 base
both 'q.w64(72, 32)'
both 'q.w32(96, 9)'
both 'q.w32(20, 9)'
cp base.v3 base

# ---- L2 tables --------------------------------------------------------------------------
# entry STATEMENT...: map stops where the peer stops, and for the same reason
entry() {
	local reason
	hurt base "$@"
	run peer map --output=json -f qcow2 t
	reason=$(sed -n 's/^qcow2: Image is corrupt: \(.*\); further.*/\1/p' .err)
	isnt "$reason" '' "the peer complains: $*"
	exits 1 -n "we fail: $*" qimg map --output=json -f qcow2 t
	is "$(grep -cF "$reason" .err)" 1 "$reason"
}
mv ../.err . 2>/dev/null
ln -sf ../.err .err
entry 'q.sl2(16, q.l2(16) + 512)'
entry 'q.sl2(16, q.l2(16) + 513)'
entry 'q.sl1(0, q.l1() + 512)'
cp base2 base
qemu-io -f qcow2 -c 'write 1M 200k' base >/dev/null
entry 'q.sl2(16, q.l2(16) | 1)'
entry 'q.sl2(20, 1)'
"$PEER" create -q -f qcow2 -o data_file=base.d base 64M
qemu-io -f qcow2 -c 'write 1M 200k' base >/dev/null
entry 'q.sl2(16, q.l2(16) + 65536)'
entry 'q.sl2(16, Z | 0x50000)'
"$PEER" create -q -f qcow2 -o extended_l2=on base 64M
qemu-io -f qcow2 -c 'write 1M 200k' base >/dev/null
entry 'q.sbm(16, 0x100000001)'
entry 'q.sl2(16, 0)'

# ---- what a writer keeps and clears -----------------------------------------------------
"$PEER" create -q -f qcow2 w 8M
head -c 3M /dev/urandom >src
field() { python3 -c '
import sys
f = open(sys.argv[1], "rb")
f.seek(int(sys.argv[2]))
print(f.read(int(sys.argv[3])).hex())' "$@"; }
python3 "$TOP/tests/interop/damage.py" w "$ext" 'put(e(77, 5, b"hello"), e(78, 0, b""))' \
	'q.w64(80, 6)' 'q.w64(88, 12)' 'q.w(105, b"\0\0\0\0\0\0\0")'
before=$(field w 112 400)
ok -n 'write into an image with unknown extensions' qimg convert -n -O qcow2 src w
is "$(field w 112 400)" "$before" 'unknown extensions are kept'
is "$(field w 80 8)" 0000000000000006 'unknown compatible features are kept'
is "$(field w 88 8)" 0000000000000000 'unknown autoclear features are cleared'
ok -n 'and the image is sound' peer check -q w
ok -n 'and has the data' peer compare -q -f raw src w

"$PEER" create -q -f qcow2 w 8M
"$PEER" bitmap --add w one
is "$(field w 88 8)" 0000000000000001 'an image with a bitmap'
ok -n 'reading it changes nothing' qimg convert -O raw w out
is "$(field w 88 8)" 0000000000000001 'the bitmap is still consistent'
ok -n 'write into it' qimg convert -n -O qcow2 src w
is "$(field w 88 8)" 0000000000000001 'the bitmap has followed'
ok -n 'it has the data' peer compare -q -f raw src w
ok -n 'the peer finds nothing' peer check -q w
run peer info w
unlike "$out$err" 'inconsistent|in-use' 'and takes it as consistent'

# written in place, too: nothing is allocated
"$PEER" create -q -f qcow2 -o preallocation=metadata w 3M
"$PEER" bitmap --add w one
size=$(stat -c %s w)
ok -n 'write in place' qimg convert -n -O qcow2 src w
ok -n 'the file has not grown, but for the bitmap' [ "$(stat -c %s w)" -le $((size + 262144)) ]
is "$(field w 88 8)" 0000000000000001 'bitmaps have followed, too'
ok -n 'it has the data' peer compare -q -f raw src w

"$PEER" create -q -f qcow2 -o lazy_refcounts=on w 8M
ok -n 'lazy refcounts' qimg convert -n -O qcow2 src w
is "$(field w 72 8)" 0000000000000000 'closed cleanly: not dirty'
ok -n 'and sound' peer check -q w
python3 "$TOP/tests/interop/damage.py" w 'q.w64(72, 1)'
ok -n 'a dirty image is read' qimg compare -q -f raw src w
is "$(field w 72 8)" 0000000000000001 'and stays dirty'
ok -n 'and written' qimg convert -n -O qcow2 src w
is "$(field w 72 8)" 0000000000000000 'and is clean again'
python3 "$TOP/tests/interop/damage.py" w 'q.w64(72, 2)'
exits 1 -n 'a corrupt image is not written' qimg convert -n -O qcow2 src w
like "$err" 'qcow2: Image is corrupt; cannot be opened read/write' 'and why'
ok -n 'but read' qimg compare -q -f raw src w

# refcounts that are too low must not cost data
"$PEER" create -q -f qcow2 w 8M
qemu-io -f qcow2 -c 'write -P 1 0 1M' w >/dev/null
python3 "$TOP/tests/interop/damage.py" w 'q.sref(3, 0)'
exits 1 -n 'the L1 table is not given away' qimg convert -n -O qcow2 src w
like "$err" 'Preventing invalid write on metadata .overlaps with active L1 table' 'and why'
is "$(field w 72 8)" 0000000000000002 'the image says that it is corrupt'
"$PEER" create -q -f qcow2 w 8M
qemu-io -f qcow2 -c 'write -P 1 0 3M' w >/dev/null
python3 "$TOP/tests/interop/damage.py" w 'q.sl2(16, q.l1o | C)' 'q.sref(3, 2)'
exits 1 -n 'nor written over as data' qimg convert -n --target-is-zero -O qcow2 src w
like "$err" 'Preventing invalid write on metadata .overlaps with active L1 table' 'and why'
done_testing
