#!/bin/bash
# vmdk beside the peer: new images of all kinds, both ways, parents, damage, hostile descriptors.
. "${0%/*}/../tap.sh"
. "$TOP/tests/interop/kit.sh"
skip_unless qemu-img qemu-io python3
peer_version qemu-img

export FMT=vmdk
one_folder

# ---- new images: the same bytes, but for a stream's ----------------------------------------
cid() { printf %08x "0x$(grep -a -o '^CID=[0-9a-f]*' "$1" | head -n 1 | cut -d = -f 2)"; }
mkdir ours/a ours/b
for o in subformat=monolithicSparse zeroed_grain=on compat6=on \
	adapter_type=lsilogic,hwversion=9,toolsversion=5 subformat=monolithicFlat \
	subformat=twoGbMaxExtentSparse subformat=twoGbMaxExtentFlat; do
	for s in 0 1 511 512 1M 1048577 100M 5G; do
		case $o,$s in *Flat,5G) continue ;; esac
		rm -f ours/a/* ours/b/*
		# 8 digits of 32 bits: the peer writes fewer for a small number
		until [ "$(grep -a -c '^CID=........$' ours/a/x.vmdk 2>/dev/null)" = 1 ]; do
			rm -f ours/a/*
			peer create -q -f vmdk -o $o ours/a/x.vmdk $s
		done
		platter create -q -f vmdk -o "$o,cid=$(cid ours/a/x.vmdk)" ours/b/x.vmdk $s
		ok -n "the same files: create $o $s" diff -r ours/a ours/b
	done
done
rm -rf ours/a ours/b
truncate -s 5M ours/r
peer create -q -f vmdk ours/p.vmdk 5M
for a in 'x 5M' '-o compat6=on,hwversion=4 x 5M' '-o compat6=maybe x 5M' '-o help' \
	'-o subformat=foo x 5M' '-o subformat= x 5M' '-o adapter_type=scsi x 5M' \
	'-o zeroed_grain=on,subformat=monolithicFlat x 5M' '-b r -F raw x' '-b r -F raw -u x 5M' \
	'-b r -F vmdk -u x 5M' '-b gone -F vmdk -u x 5M' '-b gone -F vmdk x' \
	'-b p.vmdk -F vmdk -o subformat=twoGbMaxExtentFlat x' '-b p.vmdk -F vmdk x' \
	'-o subformat=streamOptimized,zeroed_grain=on,toolsversion=1,hwversion=2,adapter_type=ide x 5M'; do
	rm -f ours/x
	# shellcheck disable=SC2086
	same_output -n "create $a" create -f vmdk $a
done

# ---- both ways --------------------------------------------------------------------------
# a stream's tables have markers, and a footer follows them
no_larger() {
	ok -n "$1: not larger than the peer's, but for the end of a stream" \
		[ "$(stat -c %s ours/w)" -le $(($(stat -c %s ours/r) + 5120)) ]
}
other_reader() {
	if command -v 7z >/dev/null && [[ $1 != *Flat* && $1 != *twoGb* ]] && [ -s "$2" ] &&
		[ "$(stat -c %s "$2")" -lt 1000000000 ]; then
		ok -n "$1: as 7z reads it" bash -c '
			7z e -so -tvmdk "$2" 2>/dev/null | head -c "$(stat -c %s "$1")" | cmp - "$1"' \
			- "$2" "$3"
	fi
	if command -v vmdkinfo >/dev/null && [ -s "$2" ]; then
		ok -n "$1: vmdkinfo knows it" bash -c 'cd "${1%/*}" && vmdkinfo "${1##*/}" |
			grep -q "Number of extents"' - "$3"
	fi
}
: >ours/empty
printf x >ours/one
head -c 512 /dev/urandom >ours/sector
noise ours/mixed 30001000
truncate -s 20M ours/zero
head -c 3M /dev/urandom >ours/dense
for f in monolithicSparse monolithicFlat twoGbMaxExtentSparse twoGbMaxExtentFlat streamOptimized; do
	for d in one sector mixed zero dense; do
		both_ways "$d, $f" $d -o subformat=$f
	done
done
truncate -s 5G ours/far
printf data | dd of=ours/far bs=1 seek=2147483646 conv=notrunc status=none
printf data | dd of=ours/far bs=1 seek=4294967294 conv=notrunc status=none
both_ways 'beyond 4 GiB, twoGbMaxExtentSparse' far -o subformat=twoGbMaxExtentSparse
rm -f ours/far ours/back ours/w* ours/r*
for f in monolithicSparse zeroed_grain streamOptimized; do
	case $f in
	zeroed_grain) o=zeroed_grain=on ;;
	*) o=subformat=$f ;;
	esac
	qimg create -q -f vmdk -o $o ours/w 2200G
	dd if=/dev/zero bs=64k count=1 status=none | tr '\0' d >ours/one_grain
	truncate -s 2200G ours/far
	dd if=ours/one_grain of=ours/far bs=64k seek=35000000 conv=notrunc status=none
	ok -n "beyond 2 TiB, $o: written" qimg convert -n -O vmdk ours/far ours/w
	ok -n "beyond 2 TiB, $o: the peer reads it" bash -c '
		! qemu-io -r -f vmdk -c "read -P 100 2293760000000 64k" "$1" | grep -q -i -e fail -e error' \
		- ours/w
	ok -n "beyond 2 TiB, $o: and we do" bash -c '"$PLATTER" map --output=json "$1" |
		grep -q "\"start\": 2293760000000, \"length\": 65536,.*\"data\": true"' - ours/w
	rm -f ours/far ours/w*
done
# the peer cannot open its own images without sectors
for f in monolithicSparse monolithicFlat twoGbMaxExtentSparse streamOptimized; do
	qimg convert -O vmdk -o subformat=$f ours/empty ours/w
	ok -n "no sectors, $f" qimg convert -O raw ours/w ours/back
	is "$(stat -c %s ours/back)" 0 "no sectors, $f: none come back"
done

# ---- streams -------------------------------------------------------------------------------
qimg convert -O vmdk -o subformat=streamOptimized ours/mixed ours/s.vmdk
ok -n 'a stream in order, with markers to the end' python3 - ours/s.vmdk <<'END'
import struct, sys, zlib
f = open(sys.argv[1], "rb").read()
head = struct.unpack_from("<IIIQQQQIQQQB4sH", f)
assert head[0] == 0x564d444b and head[1] == 3 and head[2] & 0x30001 == 0x30001
assert head[9] == 2**64 - 1 and head[13] == 1
at, tables, last, kinds = head[10] * 512, [], -1, []
grains = {}
while at < len(f):
    value, size, kind = struct.unpack_from("<QII", f, at)
    if size:
        assert not kinds and value > last
        data = zlib.decompress(f[at + 12:at + 12 + size])
        assert len(data) == 65536
        grains[at // 512], last = value, value
        at += (12 + size + 511) // 512 * 512
        continue
    kinds.append(kind)
    if kind == 1:
        tables.append(at // 512 + 1)
    if kind == 2:
        directory = at + 512
    if kind == 3:
        footer = struct.unpack_from("<IIIQQQQIQQQB4sH", f, at + 512)
    at += 512 * (value + 1)
assert at == len(f) and kinds == [1] * len(tables) + [2, 3, 0]
assert footer[9] * 512 == directory
entries = struct.unpack_from("<%dI" % ((head[3] + 65535) // 65536), f, directory)
assert [e for e in entries if e] == tables
for i, e in enumerate(entries):
    for k in range(512 if e else 0):
        g, = struct.unpack_from("<I", f, e * 512 + 4 * k)
        assert not g or grains.pop(g) == (i * 512 + k) * 128
assert not grains
import struct, sys, zlib
f = open(sys.argv[1], "rb").read()
head = struct.unpack_from("<IIIQQQQIQQQB4sH", f)
assert head[0] == 0x564d444b and head[1] == 3 and head[2] & 0x30001 == 0x30001
assert head[9] == 2**64 - 1 and head[13] == 1
at, tables, last, kinds = head[10] * 512, [], -1, []
grains = {}
while at < len(f):
    value, size, kind = struct.unpack_from("<QII", f, at)
    if size:
        assert not kinds and value > last
        data = zlib.decompress(f[at + 12:at + 12 + size])
        assert len(data) == 65536
        grains[at // 512], last = value, value
        at += (12 + size + 511) // 512 * 512
        continue
    kinds.append(kind)
    if kind == 1:
        tables.append(at // 512 + 1)
    if kind == 2:
        directory = at + 512
    if kind == 3:
        footer = struct.unpack_from("<IIIQQQQIQQQB4sH", f, at + 512)
    at += 512 * (value + 1)
assert at == len(f) and kinds == [1] * len(tables) + [2, 3, 0]
assert footer[9] * 512 == directory
entries = struct.unpack_from("<%dI" % ((head[3] + 65535) // 65536), f, directory)
assert [e for e in entries if e] == tables
for i, e in enumerate(entries):
    for k in range(512 if e else 0):
        g, = struct.unpack_from("<I", f, e * 512 + 4 * k)
        assert not g or grains.pop(g) == (i * 512 + k) * 128
assert not grains
END
qimg create -q -f vmdk -o subformat=streamOptimized ours/n.vmdk 40M
ok -n 'into a stream without data' qimg convert -n -O vmdk ours/mixed ours/n.vmdk
ok -n 'it is there' peer compare -q -f raw -F vmdk ours/mixed ours/n.vmdk
exits 1 -n 'not into one with data' qimg convert -n -O vmdk ours/mixed ours/n.vmdk
ok -n 'which stays' peer compare -q -f raw -F vmdk ours/mixed ours/n.vmdk
peer create -q -f vmdk -o subformat=streamOptimized ours/n.vmdk 40M
ok -n "into the peer's, with tables ahead" qimg convert -n -O vmdk ours/mixed ours/n.vmdk
ok -n 'it is there' peer compare -q -f raw -F vmdk ours/mixed ours/n.vmdk
ok -n 'it is sound' peer_checks ours/n.vmdk
head -c 1000000 /dev/urandom >ours/odd
qimg create -q -f vmdk -o subformat=streamOptimized ours/n2.vmdk 5M
ok -n 'less than there is room for, and no whole grain' qimg convert -n -O vmdk ours/odd ours/n2.vmdk
ok -n 'it is there' peer compare -q -f raw -F vmdk ours/odd ours/n2.vmdk
# over a parent zeros have to be said
head -c 5M /dev/urandom >ours/below
cp ours/below ours/above
dd if=/dev/zero of=ours/above bs=64k seek=3 count=20 conv=notrunc status=none
dd if=/dev/urandom of=ours/above bs=64k seek=30 count=2 conv=notrunc status=none
qimg convert -O vmdk ours/below ours/p.vmdk
for o in monolithicSparse twoGbMaxExtentSparse streamOptimized; do
	rm -f ours/o*.vmdk
	ok -n "an overlay, $o" qimg convert -O vmdk -o subformat=$o -B p.vmdk -F vmdk ours/above \
		ours/o.vmdk
	ok -n "an overlay, $o: the disk" peer compare -q -f raw -F vmdk ours/above ours/o.vmdk
	ok -n "an overlay, $o: sound" qimg check -q ours/o.vmdk
done
# compressed data goes over as it is
qimg convert -c -O qcow2 ours/mixed ours/c.qcow2
qimg convert -O vmdk -o subformat=streamOptimized ours/c.qcow2 ours/c.vmdk
ok -n 'carried from qcow2' peer compare -q ours/mixed ours/c.vmdk
peer convert -O vmdk -o subformat=streamOptimized ours/mixed ours/c.vmdk
for f in s c; do
	qimg convert -c -O qcow2 ours/$f.vmdk ours/d.qcow2
	ok -n "carried to qcow2 from $f" peer compare -q ours/mixed ours/d.qcow2
	ok -n "sound" peer check -q ours/d.qcow2
	qimg convert -O vmdk -o subformat=streamOptimized ours/$f.vmdk ours/d.vmdk
	ok -n "carried to a stream from $f" peer compare -q ours/mixed ours/d.vmdk
	ok -n "sound" qimg check -q ours/d.vmdk
done
for m in 1 2 7; do
	platter convert -q -m $m -O vmdk -o subformat=streamOptimized,cid=12345678 ours/mixed \
		ours/same
	mv ours/same ours/same$m
	ok -n "the same bytes with $m threads" cmp ours/same1 ours/same$m
done
printf '\377' | dd of=ours/s.vmdk bs=1 seek=66000 conv=notrunc status=none
exits 1 -n 'a stream with a broken grain' qimg convert -O raw ours/s.vmdk ours/back
truncate -s -2048 ours/s.vmdk
exits 1 -n 'a stream that was cut off' qimg info ours/s.vmdk
like "$err" 'cut off' 'says so'
rm -f ours/same* ours/[snc].vmdk ours/[cd].*

# ---- into what is there -----------------------------------------------------------------
io_both() { # NAME OPTIONS IO...: the same writes, by the peer, into ours and its own
	local name=$1 o=$2 c args=()
	shift 2
	for c; do args+=(-c "$c"); done
	rm -f ours/w* ours/r*
	qimg convert -O vmdk -o "$o" ours/mixed ours/w
	peer convert -O vmdk -o "$o" ours/mixed ours/r
	io -f vmdk "${args[@]}" ours/w
	io -f vmdk "${args[@]}" ours/r
	ok -n "$name, $o: sound" peer_checks ours/w
	ok -n "$name, $o: the same" peer compare -q -f vmdk -F vmdk ours/w ours/r
	ok -n "$name, $o: sound to us" qimg check -q -f vmdk ours/w
	ok -n "$name, $o: the same to us" qimg compare -q -f vmdk -F vmdk ours/w ours/r
}
for o in subformat=monolithicSparse zeroed_grain=on subformat=twoGbMaxExtentSparse \
	subformat=monolithicFlat; do
	io_both 'the peer writes into ours' $o 'write -P 7 0 5k' 'write -P 8 20M 3M' \
		'write -z 1M 1M' 'write -P 9 29297k 512'
	for d in dense zero mixed; do
		rm -f ours/w*
		peer create -q -f vmdk -o $o ours/w 40M
		io -f vmdk -c 'write -P 3 1M 300k' -c 'write -P 4 35M 4M' -c 'write -P 5 6291k 9k' \
			ours/w
		peer convert -O raw ours/w ours/want
		dd if=ours/$d of=ours/want conv=notrunc bs=1M status=none
		before=$(cid ours/w)
		ok -n "we write $d over it, $o" qimg convert -n -f raw -O vmdk ours/$d ours/w
		ok -n "$d: another CID" test "$before" != "$(cid ours/w)"
		ok -n "$d: sound" peer_checks ours/w
		ok -n "$d: sound to us" qimg check -q ours/w
		peer convert -O raw ours/w ours/back
		ok -n "$d: what was there stays" cmp ours/want ours/back
	done
done

# ---- parents ----------------------------------------------------------------------------
head -c 30M ours/mixed >ours/even
for o in subformat=monolithicSparse zeroed_grain=on subformat=twoGbMaxExtentSparse; do
	rm -f ours/p.vmdk ours/c.vmdk ours/c-*
	qimg convert -O vmdk ours/even ours/p.vmdk
	qimg create -q -f vmdk -o $o -b p.vmdk -F vmdk ours/c.vmdk
	io -f vmdk -c 'write -P 3 1M 300k' -c 'write -P 5 6291k 9k' -c 'write -P 6 20M 64k' \
		-c 'write -z 8M 1M' ours/c.vmdk
	for j in human json; do
		same_output -n "over a parent, $o: info, $j" info --output=$j c.vmdk
		same_output -n "over a parent, $o: map, $j" map --output=$j c.vmdk
	done
	same_output -n "over a parent, $o: chain" info --backing-chain c.vmdk
	qimg convert -O raw ours/c.vmdk ours/back
	ok -n "over a parent, $o: the disk" peer compare -q -f raw -F vmdk ours/back ours/c.vmdk
	ok -n "over a parent, $o: commit" qimg commit -q ours/c.vmdk
	ok -n "over a parent, $o: all is below" peer compare -q ours/back ours/p.vmdk
done
exits 1 -n 'a parent that was changed' qimg convert -O raw ours/c.vmdk ours/back
like "$err" 'was changed since' 'says so'
sed -i 's/^parentFileNameHint=.*/parentFileNameHint="nbd:\/\/x\/y"/' ours/c.vmdk
exits 1 -n 'a parent that is no path' qimg convert -O raw ours/c.vmdk ours/back
like "$err" 'only plain paths' 'is not followed'

# ---- descriptors ------------------------------------------------------------------------
desc() { # TYPE LINE...
	local type=$1
	shift
	printf '# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\n'
	printf 'createType="%s"\n\n# Extent description\n' "$type"
	printf '%s\n' "$@"
	printf '\n#DDB\nddb.adapterType = "ide"\n'
}
rm -f ours/sp*
cp ours/mixed ours/flat
peer create -q -f vmdk ours/sp.vmdk 10M
io -f vmdk -c 'write -P 3 1M 300k' ours/sp.vmdk
for l in 'RW 2048 FLAT "flat" 0' 'RW 2048 FLAT "flat" 1024' 'RW 2048 FLAT "flat"' \
	'RW 2048 FOO "flat" 0' '  RW 2048 FLAT "flat" 0' 'RW 2048 FLAT "flat" -5' \
	'RW 2048 FLAT "gone" 0'; do
	desc monolithicFlat "$l" >ours/t.vmdk
	same_output -n "info: $l" info t.vmdk
	same_output -n "map: $l" map --output=json t.vmdk
done
desc vmfs 'RW 2048 VMFS "flat"' >ours/t.vmdk
same_output -n "info: vmfs" info t.vmdk
desc vmfs 'RW 2048 VMFS "flat" 5' >ours/t.vmdk
same_output -n "info: vmfs with an offset" info t.vmdk
desc twoGbMaxExtentSparse 'RW 20480 SPARSE "sp.vmdk"' 'RW 2047 FLAT "flat" 3' \
	'RW 20480 SPARSE "sp.vmdk"' >ours/t.vmdk
same_output -n 'several extents: info' info t.vmdk
qimg convert -O raw ours/t.vmdk ours/back
ok -n 'several extents: the disk' peer compare -q ours/t.vmdk ours/back
cp ours/sp.vmdk ours/sp2.vmdk
cp ours/mixed ours/flat2
desc custom 'RW 20480 SPARSE "sp.vmdk"' 'RW 2047 FLAT "flat" 3' \
	'RW 20480 SPARSE "sp2.vmdk"' 'RW 40000 FLAT "flat2" 0' >ours/t.vmdk
ok -n 'extents at odd places are written' qimg convert -n -O vmdk ours/even ours/t.vmdk
qimg convert -O raw ours/t.vmdk ours/back
ok -n 'and hold it' cmp -n "$(stat -c %s ours/even)" ours/back ours/even
ok -n 'and are sound' qimg check -q ours/t.vmdk
# what the peer leaves out
cp ours/mixed ours/flat
desc custom 'RW 2048 FLAT "flat" 0' 'RW 100 ZERO' 'RDONLY 512 FLAT "flat" 2048' >ours/t.vmdk
qimg convert -O raw ours/t.vmdk ours/back
is "$(stat -c %s ours/back)" $((2660 * 512)) 'ZERO and RDONLY count'
{
	head -c 1M ours/mixed
	head -c 51200 /dev/zero
	tail -c +1048577 ours/mixed | head -c 262144
} >ours/want
ok -n 'and are what they say' cmp ours/want ours/back
desc custom 'RW 2048 FLAT "flat" 0' 'NOACCESS 100 FLAT "flat" 0' >ours/t.vmdk
exits 1 -n 'NOACCESS is not read' qimg convert -O raw ours/t.vmdk ours/back
truncate -s 600k ours/flat
desc monolithicFlat 'RW 2048 FLAT "flat" 0' >ours/t.vmdk
exits 1 -n 'a file that is too short' qimg convert -O raw ours/t.vmdk ours/back
like "$err" 'beyond the end of the file' 'says so'
exits 2 -n 'so does check' qimg check ours/t.vmdk
# whatever is named: a local file
mkfifo ours/fifo
for n in nbd://localhost/x json:x fifo . /dev/zero fat:x ../../../../etc/gone; do
	desc monolithicFlat "RW 2048 FLAT \"$n\" 0" >ours/t.vmdk
	exits 1 -n "an extent $n is not opened" timeout 10 "$PLATTER" info ours/t.vmdk
done
desc monolithicFlat 'RW 2048 FLAT "nowhere" 0' >ours/t.vmdk
ok -n 'the user may say where an extent is' qimg info --image-opts \
	driver=vmdk,file.filename=ours/t.vmdk,extents.0.driver=file,extents.0.filename=ours/mixed
exits 1 -n 'but not of one that is not there' qimg info --image-opts \
	driver=vmdk,file.filename=ours/t.vmdk,extents.0.filename=ours/mixed,extents.1.filename=x
like "$err" "does not support the option 'extents.1" 'says so'

# ---- ESX ---------------------------------------------------------------------------------
python3 - ours <<'END'
import struct, sys
def desc(kind, cap, line, name):
    open("%s/%s.vmdk" % (sys.argv[1], name), "w").write(
        '# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\n'
        'createType="%s"\n\n# Extent description\nRW %d %s "%s.bin"\n' % (kind, cap, line, name))
cap = 40960
gd, gt, grains = 8, 16, 512
f = bytearray(grains * 512)
struct.pack_into("<26Q", f, 0, 0xcafebabe, 0x200000001, cap, 8, 64, 0, 0, 0, 0, 0, 1, 1, 2, 2, 4, 4,
                 gd, 8, gt, 128, 400, 8, 408, 8, grains, 1024)
struct.pack_into("<Q", f, 512, 0xcafecafe)
for n, (i, kind) in enumerate(((0, 3), (1, 3), (3, 2), (4, 1), (5, 3), (4500, 3))):
    struct.pack_into("<Q", f, gd * 512 + 8 * (i // 4096), 1 << 60 | i // 4096)
    at = len(f) // 4096 - grains // 8
    struct.pack_into("<Q", f, (gt + 64 * (i // 4096)) * 512 + 8 * (i % 4096),
                     kind << 60 | (at << 48 if kind == 3 else 0))
    if kind == 3:
        f += bytes([65 + n]) * 4096
open(sys.argv[1] + "/se.bin", "wb").write(f)
desc("seSparse", cap, "SESPARSE", "se")
cap = 20000
f = bytearray(5 * 512)
struct.pack_into("<8I", f, 0, 0x44574f43, 1, 3, cap, 1, 4, 5, 0)
for g in (0, 2):
    table = len(f)
    struct.pack_into("<I", f, 2048 + 4 * g, table // 512)
    f += bytes(4 * 4096)
    for k in (0, 1, 7, 100):
        struct.pack_into("<I", f, table + 4 * k, len(f) // 512)
        f += bytes([97 + g + k % 7]) * 512
open(sys.argv[1] + "/cowd.bin", "wb").write(f)
desc("vmfsSparse", cap, "VMFSSPARSE", "cowd")
END
for n in se cowd; do
	for c in 'info --output=json' 'map --output=json' map check; do
		# shellcheck disable=SC2086
		same_output -n "$n: $c" $c $n.vmdk
	done
	qimg convert -O raw ours/$n.vmdk ours/back
	ok -n "$n: the disk" peer compare -q ours/back ours/$n.vmdk
	exits 1 -n "$n: is only read" qimg convert -n -O vmdk ours/back ours/$n.vmdk
	exits 1 -n "$n: not without its descriptor" qimg info ours/$n.bin
done

# ---- all files or none ---------------------------------------------------------------------
qimg convert -O vmdk ours/even ours/half.vmdk
truncate -s -1M ours/half.vmdk
mkdir ours/new
for f in monolithicFlat twoGbMaxExtentSparse; do
	exits 1 -n "$f from what cannot be read" platter convert -O vmdk -o subformat=$f \
		ours/half.vmdk ours/new/x.vmdk
	is "$(ls -A ours/new)" '' 'leaves nothing'
	platter create -q -f vmdk -o subformat=$f ours/new/x.vmdk 1M
	before=$(cat ours/new/* | cksum)
	exits 1 -n "$f over another" platter convert -O vmdk -o subformat=$f ours/half.vmdk \
		ours/new/x.vmdk
	is "$(cat ours/new/* | cksum)" "$before" 'leaves that'
	rm ours/new/*
done
cp ours/even ours/flat
desc monolithicFlat 'RW 2048 FLAT "flat" 0' >ours/t.vmdk
held -fraw flat 'while somebody writes the extent: read' convert -f vmdk -O raw t.vmdk back
held -r t.vmdk 'while somebody reads the image: write its extent' resize -f raw flat +1M
qimg convert -O vmdk -o subformat=twoGbMaxExtentSparse ours/even ours/l.vmdk
held '' l.vmdk 'while somebody writes: info' info l.vmdk
held -fraw l-s001.vmdk 'while somebody writes an extent: info' info l.vmdk
held -r l.vmdk 'while somebody reads: write' convert -n -O vmdk even l.vmdk

# ---- damage ---------------------------------------------------------------------------
poke() { # AT VALUE...: 32-bit numbers in a copy of the image
	cp ours/good ours/bad
	python3 - ours/bad "$@" <<'END'
import struct, sys
f = open(sys.argv[1], "r+b")
for at, value in zip(sys.argv[2::2], sys.argv[3::2]):
    f.seek(int(at, 0))
    f.write(struct.pack("<I", int(value, 0)))
END
}
peer create -q -f vmdk ours/good 10M
io -f vmdk -c 'write 0M 64k' -c 'write 1M 64k' ours/good
# the header: words of the peer
for e in '4 5' '20 0' '44 0' '44 1024' '72 0x0d200a01'; do
	# shellcheck disable=SC2086
	poke $e
	same_output -n "info: $e" info -f vmdk bad
	same_output -n "check: $e" check -f vmdk bad
done
# what the peer does not see, or takes for zeros: before and after repair
while read -r code repaired what; do
	# shellcheck disable=SC2086
	poke $what
	exits "$code" -n "check: $what" qimg check -f vmdk ours/bad
	platter check -q -r all -f vmdk ours/bad >/dev/null 2>&1
	exits "$repaired" -n "check after repair: $what" qimg check -f vmdk ours/bad
done <<'END'
2 0 13824 0x100000
2 0 13824 0x100000 11264 0x100000
2 2 13824 256
2 0 13824 1
2 0 13824 5
3 0 13824 0
3 0 11264 0
2 0 11264 256
2 2 13312 0x100000
2 2 13312 0
2 2 10752 0
END
poke 13824 0x100000
exits 1 -n 'a place beyond the end is not read as zeros' qimg convert -O raw ours/bad ours/back
poke 12 0x7fffffff
exits 1 -n 'a disk that is larger than its tables' timeout 60 "$PLATTER" convert -O raw ours/bad ours/back
done_testing
