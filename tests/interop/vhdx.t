#!/bin/bash
# vhdx beside the peer: new images, both ways, damage, the log, what each writes into the other's.
. "${0%/*}/../tap.sh"
. "$TOP/tests/interop/kit.sh"
skip_unless qemu-img qemu-io python3
peer_version qemu-img

export FMT=vhdx
one_folder

io_read() { # IMAGE OFF LEN: what the peer finds there
	qemu-io -r -f vhdx -c "read -v $2 $3" "$1" | head -1 | sed 's/.*  //'
}

# ---- new images: the same but for the creator, GUIDs, sequence numbers, what is required -----
blank() { python3 - "$1" <<'END'
import sys
f = open(sys.argv[1], "r+b")
def clear(at, n):
    f.seek(at)
    f.write(bytes(n))
clear(8, 512)
for at in (0x10000, 0x20000):
    clear(at + 4, 60)
for at in (0x30000, 0x40000):
    clear(at + 4, 4)
    for i in (0, 1):
        clear(at + 16 + 32 * i + 28, 4)
f.seek(0x30000 + 48 + 16)
clear(int.from_bytes(f.read(8), "little") + 0x10010, 16)
END
}
for o in '' block_size=1M log_size=1500k block_state_zero=off 'block_size=300M' 'block_size=1000' \
	subformat=fixed,block_state_zero=off,block_size=1M; do
	for s in 1 511 512 1M 2G 1073742336 101G 5T 33T; do
		case $o,$s in subformat=fixed*,[0-9]*[TG] | subformat=fixed*,1073742336) continue ;; esac
		case $o,$s in *=1M,*T | *=1000,*T) continue ;; esac
		rm -f ours/w ours/r
		qimg create -q -f vhdx ${o:+-o "$o"} ours/w $s
		peer create -q -f vhdx ${o:+-o "$o"} ours/r $s
		# there the last block of a fixed image may be cut off
		truncate -s "$(stat -c %s ours/w)" ours/r
		blank ours/w
		blank ours/r
		ok -n "the same file: create '$o' $s" cmp ours/w ours/r
	done
done
for a in 'x 5M' 'x 65T' '-o block_size=3M x 5M' '-o log_size=0 x 5M' '-o log_size=4G x 5M' \
	'-o log_size=4294967295 x 5M' '-o subformat=foo x 5M' '-o subformat=differencing x 5M' \
	'-o block_state_zero=maybe x 5M' '-o log_size=0,block_size=3M x 65T' \
	'-o subformat=foo,preallocation=bar x 5M' '-o subformat=foo,block_size=3M x 65T' \
	'-o subformat=fixed,preallocation=metadata x 5M' '-b r -F vhdx x 5M' '-o help x'; do
	# shellcheck disable=SC2086
	same_output -n "create $a" create -f vhdx $a
done
rm -f ours/x

# ---- both ways --------------------------------------------------------------------------
other_reader() {
	# it opens no disk that is smaller than a block, whoever made it
	command -v 7z >/dev/null && [ "$(stat -c %s "$2")" -gt 8388608 ] || return
	ok -n "$1: as 7z reads it" bash -c '
		7z e -so -tvhdx "$2" 2>/dev/null | head -c "$(stat -c %s "$1")" | cmp - "$1"' - "$2" "$3"
	command -v vhdiinfo >/dev/null || return
	ok -n "$1: vhdiinfo knows it" bash -c 'vhdiinfo "$1" | grep -q "VHDX"' - "$3"
}
: >ours/empty
printf x >ours/one
head -c 511 /dev/urandom >ours/odd
noise ours/mixed 30001000
truncate -s 20M ours/zero
head -c 1048577 /dev/urandom >ours/dense
noise ours/whole 25165824
for d in empty one odd mixed zero dense; do
	both_ways "$d" $d
	both_ways "$d, small blocks" $d -o block_size=1M
done
for d in zero whole; do
	both_ways "$d, fixed" $d -o subformat=fixed,block_state_zero=off,block_size=1M
done
truncate -s 2200G ours/far
printf data | dd of=ours/far bs=1 seek=2300000000000 conv=notrunc status=none
ok -n 'we write beyond 2 TiB' qimg convert -O vhdx ours/far ours/w
ok -n 'beyond 2 TiB: sound' peer_checks ours/w
is "$(io_read ours/w 2300000000000 4)" data 'beyond 2 TiB: the peer finds it'
ok -n 'beyond 2 TiB: we read' qimg compare -q ours/far ours/w
rm ours/far

# ---- what is ours: sectors of 4096 bytes, bytes that can be had again ---------------------------
o=logical_sector_size=4096,physical_sector_size=4096
ok -n 'sectors of 4096 bytes' "$PLATTER" convert -O vhdx -o $o ours/whole ours/w
ok -n 'are the same bytes' qimg compare -q ours/whole ours/w
ok -n 'are sound' qimg check -q ours/w
other_reader 'sectors of 4096 bytes' ours/whole ours/w
for f in a b; do
	"$PLATTER" create -q -f vhdx -o uuid=12345678-1234-4234-8234-123456789abc ours/$f 9M
done
ok -n 'the same UUID, the same file' cmp ours/a ours/b
rm -f ours/w
qimg create -q -f vhdx -o block_size=1M,block_state_zero=off ours/w 64T
io -f vhdx -c 'write -P 68 70368744173568 4096' ours/w
"$PLATTER" dd -O raw if=ours/w of=ours/tail bs=4096 skip=17179869183
is "$(head -c 4 ours/tail)" DDDD \
	'64 TiB in blocks of 1 MiB: what the peer writes at the end'
rm ours/w

# ---- into what is there -----------------------------------------------------------------
io_both() { # NAME IO...: the same writes, by the peer, into an image of ours and one of its own
	local name=$1 c args=()
	shift
	for c; do args+=(-c "$c"); done
	rm -f ours/w ours/r
	qimg convert -O vhdx ours/mixed ours/w
	peer convert -O vhdx ours/mixed ours/r
	io -f vhdx "${args[@]}" ours/w
	io -f vhdx "${args[@]}" ours/r
	ok -n "$name: sound" peer_checks ours/w
	ok -n "$name: the same" peer compare -q -f vhdx -F vhdx ours/w ours/r
	ok -n "$name: sound to us" qimg check -q -f vhdx ours/w
	ok -n "$name: the same to us" qimg compare -q -f vhdx -F vhdx ours/w ours/r
}
io_both 'the peer writes into ours' 'write -P 7 0 5k' 'write -P 8 20M 3M' 'write -z 1M 1M' \
	'write -P 9 29297k 512'
for d in whole zero; do
	rm -f ours/w
	peer create -q -f vhdx -o block_size=1M ours/w 40M
	io -f vhdx -c 'write -P 3 1M 300k' -c 'write -P 4 35M 4M' -c 'write -P 5 6291k 9k' ours/w
	peer convert -O raw ours/w ours/want
	dd if=ours/$d of=ours/want conv=notrunc bs=1M status=none
	ok -n "we write $d over it" qimg convert -n -f raw -O vhdx ours/$d ours/w
	ok -n "$d: sound" peer_checks ours/w
	peer convert -O raw ours/w ours/back
	ok -n "$d: what was there stays" cmp ours/want ours/back
done
# more pages of the table than one entry of the log has room for
rm -f ours/w
peer create -q -f vhdx -o block_size=1M ours/w 100G
truncate -s 100G ours/far
python3 -c '
f = open("ours/far", "r+b")
for i in range(200):
    f.seek((i << 29) + (7 << 20))
    f.write(b"%04d" % i)'
ok -n 'changes all over the table' qimg convert -n -S 512 -f raw -O vhdx ours/far ours/w
ok -n 'they are sound' peer_checks ours/w
is "$(io_read ours/w $(((199 << 29) + (7 << 20))) 4)" 0199 'the last of them'
is "$(io_read ours/w $(((120 << 29) + (7 << 20))) 4)" 0120 'one between'
ok -n 'they are all there' qimg compare -q -f raw -F vhdx ours/far ours/w
rm -f ours/w ours/far

# ---- the log -------------------------------------------------------------------------------
python3 "$DATA/vhdx/make.py" ours
qimg convert -O raw ours/base.vhdx ours/want
ok -n 'a log to be replayed: we read it' qimg compare -q -f raw ours/want ours/log.vhdx
peer check -q -r all ours/log.vhdx 2>/dev/null
ok -n 'the peer replays the same' peer compare -q -f raw -F vhdx ours/want ours/log.vhdx
python3 "$DATA/vhdx/make.py" ours
cp ours/log.vhdx peer.vhdx
cp peer.vhdx ours/log.vhdx
exits 0 -n 'we replay it' qimg check -q -r all ours/log.vhdx
ok -n 'the peer reads what we replayed' peer compare -q -f raw -F vhdx ours/want ours/log.vhdx
ok -n 'and finds it sound' peer_checks ours/log.vhdx
# a peer that was killed: whatever it left, we read what it repairs
peer create -q -f vhdx -o block_size=1M ours/w 100M
for i in $(seq 0 99); do echo "write -P $((i + 1)) ${i}M 4k"; done >cmds
for n in 1 2 3; do
	cp ours/w ours/killed
	qemu-io -f vhdx ours/killed <cmds >/dev/null 2>&1 &
	sleep 0.$((n * 17))
	{ kill -9 $! && wait $!; } >/dev/null 2>&1
	cp ours/killed ours/mended
	ok -n "killed $n: sound to us" qimg check -q ours/killed
	peer check -q -r all ours/mended 2>/dev/null
	ok -n "killed $n: the same disk" qimg compare -q ours/killed ours/mended
	qimg check -q -r all ours/killed 2>/dev/null
	ok -n "killed $n: we mend it" peer compare -q -f vhdx -F vhdx ours/killed ours/mended
done

# we are killed before any of the calls that change the file: each sector is the old or the new
# one or zeros (the target is emptied first), and the same to the peer after its repair
suicide=${PLATTER%/*}/tests/cli/suicide
among() { python3 - "$@" <<'END'
import sys
got, *rest = (open(name, "rb").read() for name in sys.argv[1:])
rest.append(bytes(len(got)))
for i in range(0, len(got), 512):
    if not any(got[i:i + 512] == r[i:i + 512] for r in rest):
        sys.exit("sector %d is none of them" % (i // 512))
END
}
if [ -x "$suicide" ]; then
	rm -f ours/good
	peer create -q -f vhdx -o block_size=1M ours/good 6M
	io -f vhdx -c 'write -P 3 1M 300k' -c 'write -P 4 4M 1M' ours/good
	peer convert -O raw ours/good ours/old
	head -c 6M ours/whole >ours/new
	cp ours/good ours/w
	KILL_COUNT=$T/calls ok -n 'we write' "$suicide" convert -n -m 1 -f raw -O vhdx ours/new ours/w
	why=''
	for ((n = 1; n <= $(cat calls); n++)); do
		cp ours/good ours/w
		{
			(KILL_AT=$n exec "$suicide" convert -n -m 1 -f raw -O vhdx ours/new ours/w) >/dev/null
		} 2>/dev/null
		qimg check -q ours/w 2>/dev/null || { why="our check at call $n"; break; }
		qimg convert -O raw ours/w ours/back || { why="we cannot read at call $n"; break; }
		peer check -q -r all ours/w 2>/dev/null
		peer convert -O raw ours/w ours/want || { why="the peer cannot read at call $n"; break; }
		cmp -s ours/back ours/want || { why="not the same disk at call $n"; break; }
		among ours/back ours/old ours/new || { why="at call $n"; break; }
	done
	is "$why" '' "killed at $((n - 1)) of $(cat calls) calls"
fi

# ---- a difference to another ------------------------------------------------------------------
ok -n 'a difference is read through its parent' qimg convert -O raw ours/diff.vhdx ours/back
! command -v 7z >/dev/null || ok -n 'the same to 7z, with the parent' bash -c \
	'cd ours && 7z e -so -tvhdx diff.vhdx 2>/dev/null | cmp - back'
! command -v vhdiinfo >/dev/null ||
	ok -n 'libvhdi knows the parent' grep -q 'Parent filename.*base.vhdx' <(vhdiinfo ours/diff.vhdx)
is "$(dd if=ours/back bs=512 count=1 skip=9 status=none | tr -d '\211' | wc -c)" 0 'a sector of it'
is "$(dd if=ours/back bs=512 count=1 skip=8 status=none | tr -d '\0' | wc -c)" 0 'one of the parent'
exits 1 -n 'it is only read' qimg convert -n -f raw -O vhdx ours/one ours/diff.vhdx
mv ours/base.vhdx ours/other.vhdx
exits 1 -n 'its parent is missing' qimg convert -O raw ours/diff.vhdx ours/back
cp ours/other.vhdx ours/base.vhdx
io -f vhdx -c 'write 0 512' ours/base.vhdx
exits 1 -n 'its parent was written' qimg convert -O raw ours/diff.vhdx ours/back
like "$err" 'was written since' 'which is said'

# ---- damage ---------------------------------------------------------------------------
poke() { # AT VALUE...: 64-bit numbers in a copy of the image
	cp ours/good ours/bad
	python3 - ours/bad "$@" <<'END'
import struct, sys
f = open(sys.argv[1], "r+b")
for at, value in zip(sys.argv[2::2], sys.argv[3::2]):
    f.seek(int(at, 0))
    f.write(struct.pack("<Q", int(value, 0)))
END
}
rm -f ours/good
peer create -q -f vhdx -o block_size=1M ours/good 10M
io -f vhdx -c 'write 2M 1k' -c 'write 5M 1k' ours/good
for e in '0x200050 1' '0x200010 3' '0x200000 0x800002' '0x8 0' '0x200800 5'; do
	# shellcheck disable=SC2086
	poke $e
	same_output -n "check: $e" check -f vhdx bad
	same_output -n "check, JSON: $e" check -f vhdx --output=json bad
	same_output -n "info: $e" info -f vhdx bad
done
# one copy of two: said, not counted
for e in 0x10000 0x20000 0x30000 0x40000; do
	poke $e 0
	exits 0 -n "a damaged copy at $e" qimg check -f vhdx ours/bad
	like "$err" 'Damaged is copy [12] of the' "at $e: is told"
	ok -n "at $e: the same disk" qimg compare -q ours/good ours/bad
	exits 0 -n "at $e: is repaired" qimg check -q -r all ours/bad
	is "$(qimg check -f vhdx ours/bad 2>&1)" 'No errors were found on the image.' "at $e: for good"
	ok -n "at $e: to the peer, too" peer_checks ours/bad
done
for e in '0x0 0' '0x10000 0 0x20000 0' '0x30000 0 0x40000 0' '0x300000 0' '0x300008 0' \
	'0x310000 0' '0x310020 0'; do
	# shellcheck disable=SC2086
	poke $e
	exits 1 -n "not opened: $e" qimg info -f vhdx ours/bad
	exits 1 -n "nor by the peer: $e" peer info -f vhdx ours/bad
done
for e in '0x200010 0x100006' '0x200010 0x200006' '0x200010 0xa00006'; do
	# shellcheck disable=SC2086
	poke $e
	exits 2 -n "a place that none is: $e" qimg check -f vhdx ours/bad
	exits 2 -n "nor to the peer: $e" peer check -f vhdx ours/bad
	exits 1 -n "cannot be read: $e" qimg convert -O raw ours/bad ours/back
	rm -f ours/back
done
poke 0x200010 0x900006
exits 2 -n 'a place of two blocks' qimg check -f vhdx ours/bad
done_testing
