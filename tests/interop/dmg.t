#!/bin/bash
# dmg: every kind of image from mkdmg.py, as the peer, dmg2img and 7z read it; checksums; damage.
. "${0%/*}/../tap.sh"
. "$TOP/tests/interop/kit.sh"
skip_unless qemu-img qemu-io python3
peer_version qemu-img
one_folder

mk() { python3 "$TOP/tests/interop/mkdmg.py" "$@"; }
# the peer asks for modules that Debian has not
peers() { same_output -f '/^qemu: module/d' "$@"; }
has() { "$PLATTER" --version | grep -q "with $1"; }

# ---- what each reads ------------------------------------------------------------------------
noise ours/mixed 1300000
truncate -s 20M ours/zero
head -c 400000 /dev/urandom >ours/dense
: >ours/empty
printf x >ours/one
head -c 1048577 ours/mixed >ours/odd

# as_is NAME RAW IMAGE: we read it, whoever else can reads it so, and its checksums are right
as_is() {
	ok -n "$1: we read" qimg convert -f dmg -O raw "$3" ours/back
	ok -n "$1: the same" cmp <(cat "$2" && head -c $((-$(stat -c %s "$2") & 511)) /dev/zero) ours/back
	ok -n "$1: its checksums" platter check -q "$3"
}
by_peer() {
	peers -n "$1: info" info --output=json x.dmg
	peers -n "$1: map" map --output=json x.dmg
	peers -n "$1: measure" measure -O qcow2 x.dmg
	peers -n "$1: check" check x.dmg
	ok -n "$1: as the peer reads it" peer compare -q -f dmg -F raw ours/x.dmg ours/back
}
by_dmg2img() {
	command -v dmg2img >/dev/null && [ -s "$2" ] && [ "$2" != ours/zero ] || return
	ok -n "$1: dmg2img" dmg2img -s ours/x.dmg ours/theirs
	ok -n "$1: as dmg2img reads it" cmp ours/theirs ours/back
}
# 7z shows tables as files, and stops behind the first coded block of LZFSE
by_7z() {
	command -v 7z >/dev/null || return
	rm -rf ours/parts
	7z x -y -tdmg -oours/parts ours/x.dmg >/dev/null 2>&1
	ok -n "$1: as 7z reads it" cmp <(cd ours/parts && for ((i = 0; i < 50; i++)); do
		cat "$i".* 2>/dev/null
	done) ours/back
}
for d in mixed zero dense empty one odd; do
	opts=('-k UDRO' '-k UDZO' '-k UDZO -c 2048 -z ignore' '-k UDZO -c 8 --fork' \
		'-k UDZO -p 0,1,64 --both --base --gap 7' '-k UDRO -z data --fork' '-k UDBZ -p 0,1')
	case $d in
	zero | dense) opts=("${opts[@]:0:3}") ;;
	empty | one) opts=("${opts[@]:1:1}" "${opts[5]}") ;;
	odd) opts=("${opts[@]:3:2}") ;;
	esac
	for o in "${opts[@]}"; do
		[[ $o != *UDBZ* ]] || has bzip2 || continue
		# shellcheck disable=SC2086
		mk $o ours/$d ours/x.dmg
		as_is "$d $o" ours/$d ours/x.dmg
		[[ $o = *UDBZ* ]] || by_peer "$d $o"
		[[ $o = *--fork* || $o = *--base* ]] || by_dmg2img "$d $o" ours/$d
		[[ $o = *--fork* || $d = empty ]] || by_7z "$d $o"
	done
done
head -c 150000 ours/mixed >ours/some
for o in '-k UDCO' '-k UDCO -p 0,1,64 -c 16' '-k ULMO' '-k ULMO -c 2048' '-k ULFO -c 32 --lz 2' \
	'-k ULFO --lz n -p 0,7' '-k ULFO' '-k MIX -c 32 -p 0,100'; do
	[[ $o != *ULMO* && $o != *MIX* ]] || { has xz && has bzip2; } || continue
	# shellcheck disable=SC2086
	mk $o ours/some ours/x.dmg
	as_is "$o" ours/some ours/x.dmg
	[[ $o = '-k ULFO' || $o = *MIX* ]] || by_7z "$o"
	[[ $o != *UDCO* ]] || by_dmg2img "$o" ours/some
done
mk -k UDIF ours/some ours/x.dmg
as_is 'a trailer and no tables' ours/some ours/x.dmg
mk ours/some ours/x.dmg
head -c 300 /dev/urandom >>ours/x.dmg
ok -n 'a little behind the trailer' qimg compare -q -f dmg -F raw ours/x.dmg ours/some

# ---- parallel, in parts, to other formats ----------------------------------------------------
mk -c 2048 -p 0,1,64 ours/mixed ours/x.dmg
for m in 1 2 8; do
	qimg convert -m $m -f dmg -O raw ours/x.dmg ours/back
	ok -n "convert -m $m" peer compare -q -f raw -F raw ours/mixed ours/back
done
ok -n 'to qcow2' qimg convert -f dmg -O qcow2 ours/x.dmg ours/back
ok -n 'to qcow2: the same' peer compare -q -f qcow2 -F raw ours/back ours/mixed
ok -n 'to qcow2 -c' qimg convert -c -f dmg -O qcow2 ours/x.dmg ours/back
ok -n 'to qcow2 -c: the same' peer compare -q -f qcow2 -F raw ours/back ours/mixed
ok -n 'dd of a part' qimg dd -f dmg -O raw bs=1000 skip=77 count=99 if=ours/x.dmg of=ours/back
peer dd -f dmg -O raw bs=1000 skip=77 count=99 if=ours/x.dmg of=ours/theirs 2>/dev/null
ok -n 'dd of a part: the same' cmp ours/theirs ours/back
(cd ours && img -b x.dmg -F dmg over.qcow2 2>/dev/null)
io -c 'write -P 7 100k 10k' ours/over.qcow2
peers -n 'an overlay: map' map --output=json over.qcow2
qimg convert -O raw ours/over.qcow2 ours/back
ok -n 'an overlay: the same' peer compare -q -f qcow2 -F raw ours/over.qcow2 ours/back
# 3 TiB, most of it one chunk of zeros
mk -k UDRO -c 100000 -s sectors=0x180000000 -s t0.1.type=0 -s t0.1.sectors=0x180000000 \
	ours/zero ours/x.dmg
peers -n '3 TiB: info' info --output=json x.dmg
is "$(platter map --output=json ours/x.dmg | grep -c start)" 1 '3 TiB: one run'

# ---- found by its end, and only if it is sound -----------------------------------------------
mk ours/some ours/x.dmg
cp ours/x.dmg ours/y
like "$(platter info ours/y)" 'file format: dmg' 'known by its trailer'
mk -s version=5 ours/some ours/y
like "$(platter info ours/y)" 'file format: raw' 'not if the trailer is another'
for a in 'create -f dmg y 1M' 'convert -O dmg some y' 'resize -f dmg x.dmg 1M' \
	'commit -f dmg x.dmg' 'info -f dmg some' 'info -f dmg one'; do
	# shellcheck disable=SC2086
	peers -n "$a" $a
done

# ---- checksums -------------------------------------------------------------------------------
for s in datasum=1 sum=1 t0.sum=1 zip=255 t1.1.type=0; do
	mk -p 0,64 -s $s ours/some ours/x.dmg
	exits 2 -n "check: $s" platter check ours/x.dmg
done
mk -s datasum=1 ours/some ours/x.dmg
like "$(platter check --output=json ours/x.dmg 2>/dev/null)" '"kind": "checksum"' 'check: JSON'
mk -s datasumtype=4 -s datasum=1 ours/some ours/x.dmg
ok -n 'check: a kind that nobody verifies' platter check ours/x.dmg

# ---- damage ----------------------------------------------------------------------------------
for s in flags=0 datalen=0 datalen=100 datasumtype=0 datasum=1 sum=1 sectors=10 t0.magic=1 \
	t0.version=7 t1.sectors=1 t1.buffers=0 t1.1.type=3 \
	t1.1.type=0xffffffff t1.1.sectors=0; do
	mk -p 0,64 -s $s ours/some ours/x.dmg
	peers -n "info: $s" info x.dmg
	peers -n "map: $s" map --output=json x.dmg
	"$PEER" convert -f dmg -O raw ours/x.dmg ours/theirs 2>/dev/null
	exits $? -n "convert: $s" qimg convert -f dmg -O raw ours/x.dmg ours/back
done
# the peer reads some of these, as zeros or as something else, or until it crashes
for s in version=3 data=1000000 segments=2 xml=0 xmllen=0 xmllen=10 xmllen=0xffffffffffffffff \
	xml=0xffffffff00000000 t0.start=5 t1.start=0 t1.start=0xffffffffffffffff \
	t0.entries=0xffffffff t1.1.type=1 t1.1.start=0x7fffffffffffff t1.1.sectors=1000 \
	t1.1.sectors=131073 t1.1.sectors=0x100000000 t1.1.off=0xffffffffffffffff \
	t1.1.len=0x4000001 t1.1.len=0x7fffffffffffffff; do
	mk -p 0,64 -c 200 -s $s ours/some ours/x.dmg
	exits 1 -n "refused: $s" timeout 20 "$QIMG" info -f dmg ours/x.dmg
	is "$(wc -l <"$T/.err")" 1 "refused in one line: $s"
done
for s in zip=255 t1.1.type=0xffffffff t1.1.sectors=1 t1.1.len=1 t1.1.len=0 t1.1.off=99 \
	sectors=1000 t1.base=5 t0.entries=0 t0.entries=1; do
	mk -p 0,64 -c 200 -s $s ours/some ours/x.dmg
	exits 1 -n "not to be read: $s" timeout 20 "$QIMG" convert -f dmg -O raw ours/x.dmg ours/back
	is "$(wc -l <"$T/.err")" 1 "in one line: $s"
	exits 2 -n "check: $s" platter check -f dmg ours/x.dmg
done
ok -n 'what can be read is salvaged' platter convert --salvage -f dmg -O raw ours/x.dmg ours/back
done_testing
