#!/bin/bash
# vdi beside the peer: new images, both ways, damage, and what each writes into the other's.
. "${0%/*}/../tap.sh"
. "$TOP/tests/interop/kit.sh"
skip_unless qemu-img qemu-io python3
peer_version qemu-img

export FMT=vdi
one_folder

# ---- new images: the same but for the text at the top and the UUIDs -------------------------
blank() { python3 - "$1" <<'END'
import sys
f = open(sys.argv[1], "r+b")
f.write(bytes(64))
f.seek(0x188)
f.write(bytes(32))
END
}
for o in '' static=on; do
	for s in 0 1 511 512 1M 1048577 1000000 100M 2T; do
		case $o,$s in static=on,2T) continue ;; esac
		rm -f ours/w ours/r
		qimg create -q -f vdi ${o:+-o "$o"} ours/w $s
		peer create -q -f vdi ${o:+-o "$o"} ours/r $s
		blank ours/w
		blank ours/r
		ok -n "the same file: create '$o' $s" cmp ours/w ours/r
	done
done
for a in 'x 512T' 'x 1024T' '-o static=maybe x 5M' '-o preallocation=metadata x 5M' \
	'-o preallocation=falloc x 5M' '-o preallocation=no x 5M' '-o static=on,preallocation=full x 5M' \
	'-o block_size=4M x 5M' '-b r -F vdi x 5M' '-o help x'; do
	# our help has more to tell
	[[ $a != *block_size* && $a != *help* ]] || continue
	# shellcheck disable=SC2086
	same_output -n "create $a" create -f vdi $a
done

# ---- both ways --------------------------------------------------------------------------
other_reader() {
	command -v 7z >/dev/null && [ "$(stat -c %s "$2")" -lt 1000000000 ] || return
	ok -n "$1: as 7z reads it" bash -c '
		7z e -so -tvdi "$2" 2>/dev/null | head -c "$(stat -c %s "$1")" | cmp - "$1"' - "$2" "$3"
}
: >ours/empty
printf x >ours/one
head -c 512 /dev/urandom >ours/sector
noise ours/mixed 30001000
truncate -s 20M ours/zero
head -c 3M /dev/urandom >ours/dense
for d in empty one sector mixed zero dense; do
	both_ways "$d" $d
	both_ways "$d, static" $d -o static=on
done
truncate -s 2200G ours/far
printf data | dd of=ours/far bs=1 seek=2300000000000 conv=notrunc status=none
both_ways 'beyond 2 TiB' far
rm ours/far

# ---- into what is there -----------------------------------------------------------------
io_both() { # NAME IO...: the same writes, by the peer, into an image of ours and one of its own
	local name=$1 c args=()
	shift
	for c; do args+=(-c "$c"); done
	rm -f ours/w ours/r
	qimg convert -O vdi ours/mixed ours/w
	peer convert -O vdi ours/mixed ours/r
	io -f vdi "${args[@]}" ours/w
	io -f vdi "${args[@]}" ours/r
	ok -n "$name: sound" peer_checks ours/w
	ok -n "$name: the same" peer compare -q -f vdi -F vdi ours/w ours/r
	ok -n "$name: sound to us" qimg check -q -f vdi ours/w
	ok -n "$name: the same to us" qimg compare -q -f vdi -F vdi ours/w ours/r
}
io_both 'the peer writes into ours' 'write -P 7 0 5k' 'write -P 8 20M 3M' 'write -z 1M 1M' \
	'write -P 9 29297k 512'
for d in dense zero mixed; do
	rm -f ours/w
	peer create -q -f vdi ours/w 40M
	io -f vdi -c 'write -P 3 1M 300k' -c 'write -P 4 35M 4M' -c 'write -P 5 6291k 9k' ours/w
	peer convert -O raw ours/w ours/want
	dd if=ours/$d of=ours/want conv=notrunc bs=1M status=none
	ok -n "we write $d over it" qimg convert -n -f raw -O vdi ours/$d ours/w
	ok -n "$d: sound" peer_checks ours/w
	peer convert -O raw ours/w ours/back
	ok -n "$d: what was there stays" cmp ours/want ours/back
done

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
peer create -q -f vdi ours/good 10M
io -f vdi -c 'write 2M 1k' -c 'write 5M 1k' ours/good
for e in '0x40 0' '0x44 0' '0x48 0x100' '0x4c 2' '0x50 1' '0x154 513' '0x158 1000' \
	'0x168 1024' '0x178 0' '0x180 3' '0x180 0x20000000' '0x170 0x01000000' '0x198 5' \
	'0x200 10 0x184 3' '0x200 0 0x184 3' '0x200 0' '0x200 0xfffffffe'; do
	# shellcheck disable=SC2086
	poke $e
	same_output -n "check: $e" check -f vdi bad
	same_output -n "check, JSON: $e" check -f vdi --output=json bad
	same_output -n "info: $e" info -f vdi bad
done
# a leak here, an error there: it is room that nothing refers to
poke 0x184 4
exits 3 -n 'a count too high: leaks' qimg check -f vdi ours/bad
done_testing
