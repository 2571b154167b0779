#!/bin/bash
# qcow2 files made to hurt: each gives one clear line and exit code 1, leaves no target,
# and takes neither much memory nor long, whatever it claims.
. "${0%/*}/../tap.sh"
skip_unless python3

mkdir "$T/w"
cd "$T/w" || exit 1

limits() {
	[ -n "$SANITIZED" ] || ulimit -v 500000
	exec timeout 60 "$@"
}
limited() { (limits "$@"); }

left() { find . -maxdepth 1 ! -name . -printf '%f\n' | grep -v "$known"; }
img() { qimg create -q -f qcow2 "$@" || fail "create $*"; }
damage() { python3 "$TOP/tests/interop/damage.py" "$@" || fail "damage $*"; }

# what a failed command has to look like
clean_failure() {
	local what=$1
	if [ $rc != 1 ] || [ "$(wc -l <"$T/.err")" != 1 ]; then
		fail "$what"
		tap_show 1
		return
	fi
	case $err in
	platter:\ *evil*) ;;
	*)
		fail "$what: names the file"
		tap_show 1
		return
		;;
	esac
	pass "$what: ${err#platter: }"
}

# refused NAME: evil cannot be opened, by nobody
refused() {
	run limited "$PLATTER" info evil
	clean_failure "$1, info"
	run limited "$PLATTER" convert -f qcow2 -O raw evil out
	clean_failure "$1, convert"
	is "$(left)" '' "$1: nothing is left"
}

# unread NAME: evil can be opened, but not be read
unread() {
	run limited "$PLATTER" convert -f qcow2 -O qcow2 evil out
	clean_failure "$1, convert"
	is "$(left)" '' "$1: nothing is left"
	run limited "$PLATTER" compare evil evil
	like "$rc" '^[234]$' "$1, compare"
}

# survived NAME: whatever the answer is, there is one
survived() {
	local c
	for c in info check map 'measure -O qcow2' 'convert -O raw' compare; do
		local last=()
		[ "$c" != compare ] || last=(evil)
		[ "$c" != 'convert -O raw' ] || last=(out)
		# shellcheck disable=SC2086
		run limited "$PLATTER" $c evil "${last[@]}"
		if [ $rc -lt 124 ] && [ -n "$out$err" ] || { [ $rc = 0 ] && [ -e out ]; }; then
			pass "$1: $c"
		else
			fail "$1: $c"
			tap_show
		fi
		rm -f out
	done
}

head -c 300k /dev/urandom >data
img -o cluster_size=512 small 1M
qimg convert -O qcow2 data base || fail 'the base image'
copy() {
	cp base evil
	damage evil "$@"
}

known='^\(data\|base\|small\|evil\|next\)$'

# the header
for n in 0 4 8 71 103; do
	head -c $n base >evil
	run limited "$PLATTER" info -f qcow2 evil
	clean_failure "a file of $n bytes"
done
while read -r name statements; do
	copy "$statements"
	refused "$name"
done <<'END'
version-4 q.w32(4, 4)
cluster-bits-8 q.w32(20, 8)
cluster-bits-22 q.w32(20, 22)
cluster-bits-huge q.w32(20, 0xffffffff)
size-huge q.w64(24, (1 << 64) - 1)
size-2^63 q.w64(24, 1 << 63)
size-past-L1 q.w64(24, 1 << 50)
crypt-3 q.w32(32, 3)
L1-size-huge q.w32(36, 0xffffffff)
L1-size-0 q.w32(36, 0)
L1-not-aligned q.w64(40, 0x30200)
refcount-table-not-aligned q.w64(48, 0x10200)
refcount-table-huge q.w32(56, 0xffffffff)
snapshots-many q.w32(60, 0xffffffff)
snapshots-not-aligned q.w32(60, 1); q.w64(64, 512)
unknown-feature q.w64(72, 1 << 40)
feature-of-compression q.w64(72, 8)
compression-2 q.w64(72, 8); q.w(104, b"\2")
subclusters-too-small q.cut(0); q.w(0, open("small", "rb").read()); q.w64(72, 16)
refcount-order-7 q.w32(96, 7)
header-length-8 q.w32(100, 8)
header-length-huge q.w32(100, 0xfffffff8)
backing-too-long q.w64(8, 200); q.w32(16, 1024)
backing-past-cluster q.w64(8, 65500); q.w32(16, 100)
backing-off-huge q.w64(8, 1 << 63); q.w32(16, 10)
extension-too-long q.w32(q.head, 5); q.w32(q.head + 4, 0xffffffff)
bitmaps-short q.w32(q.head, 0x23852875); q.w32(q.head + 4, 8)
END

for v in 0 1; do
	copy "q.w32(4, $v)"
	run limited "$PLATTER" info -f qcow2 evil
	clean_failure "version-$v"
done

# tables
while read -r name statements; do
	copy "$statements"
	unread "$name"
	survived "$name"
done <<'END'
L1-past-the-end q.w64(40, 1 << 40)
L2-not-aligned q.sl1(0, q.l1() + 512)
data-not-aligned q.sl2(0, q.l2(0) + 512)
packed-past-the-end q.sl2(0, Z | 1 << 40)
packed-garbage q.sl2(0, Z | q.l2(0) & ~C)
packed-zeros q.w(q.l2(0) & ~C, bytes(4096)); q.sl2(0, Z | q.l2(0) & ~C)
packed-short q.w(q.l2(0) & ~C, b"\3\0" + bytes(600)); q.sl2(0, Z | q.l2(0) & ~C)
END
while read -r name statements; do
	copy "$statements"
	survived "$name"
done <<'END'
L2-past-the-end q.sl1(0, 1 << 40 | C)
L2-on-itself q.sl2(0, q.l1()); q.sl2(1, q.l1())
L1-on-the-header q.w64(40, 0)
L1-on-itself q.sl1(0, q.l1o | C)
data-past-the-end q.sl2(0, 1 << 50 | C)
data-on-L1 q.sl2(0, q.l1o | C)
refcount-table-on-the-header q.w64(48, 0)
refcount-table-past-the-end q.w64(48, 1 << 50)
snapshots-past-the-end q.w32(60, 65536); q.w64(64, 1 << 50)
snapshots-on-data q.w32(60, 65536); q.w64(64, q.l2(0) & ~C)
snapshots-in-a-hole q.w32(60, 65536); q.w64(64, 1 << 30); q.cut(1 << 36)
bitmaps-many q.w32(q.head, 0x23852875); q.w32(q.head + 4, 24); q.w32(q.head + 8, 65535); q.w64(q.head + 16, 67107840); q.w64(q.head + 24, 1 << 30); q.w64(88, 1); q.cut(1 << 36)
cut-to-200k q.cut(200000)
cut-to-one-cluster q.cut(65536)
cut-to-the-header q.cut(104)
END

# large claims of small files
copy 'q.w64(24, 1 << 51)' 'q.w32(36, 1 << 22)' 'q.cut(1 << 27)' 'q.w64(40, 1 << 26)'
survived '2 PiB, an L1 table of 32 MiB in a hole'
copy 'q.w64(24, 1 << 51)' 'q.w32(36, 1 << 22)' 'q.cut(1 << 27)' \
	'v = q.r(q.l1o, 8)' 'q.w64(40, 1 << 26)' 'q.w(1 << 26, v * (1 << 22))'
run limited "$PLATTER" check evil
like "$rc" '^[12]$' 'one L2 table four million times: check'

# backing files
copy 'q.w(32768, b"evil")' 'q.w64(8, 32768)' 'q.w32(16, 4)'
refused_chain() {
	run limited "$PLATTER" convert -f qcow2 -O raw evil out
	clean_failure "$1, convert"
	is "$(left)" '' "$1: nothing is left"
	ok -n "$1: info tells of it" limited "$PLATTER" info evil
}
refused_chain 'its own backing file'
img -u -b next -F qcow2 evil 1M
img -u -b evil -F qcow2 next 1M
refused_chain 'a loop of two'
mkdir deep
cd deep || exit 1
img -o cluster_size=512 small 1k
python3 - <<'END'
import struct
small = open("small", "rb").read()
for i in range(210):
    name = str(i + 1).encode()
    image = bytearray(small)
    image[8:20] = struct.pack(">QI", 480, len(name))
    image[480:480 + len(name)] = name
    open(str(i), "wb").write(image)
END
cp small 210
run limited "$PLATTER" map 0
is "$rc" 1 'a chain of 211'
is "$(wc -l <"$T/.err")" 1 'a chain of 211: one line'
ok -n 'a chain of 200 is fine' limited "$PLATTER" map 11
cd .. || exit 1
rm -r deep

# not files
mkdir dir
mkfifo fifo
python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")'
known='^\(data\|base\|small\|dir\|fifo\|socket\|evil\|next\)$'
for f in dir fifo socket /dev/tty; do
	[ ! -e $f ] && continue
	run limited "$PLATTER" info $f
	is "$rc" 1 "info $f"
	is "$(wc -l <"$T/.err")" 1 "info $f: one line: $err"
	img -u -b $f -F raw evil 1M
	run limited "$PLATTER" convert -O raw evil out
	is "$rc" 1 "a backing file $f"
	is "$(wc -l <"$T/.err")" 1 "a backing file $f: one line: $err"
	is "$(left)" '' "a backing file $f: nothing is left"
done

done_testing
