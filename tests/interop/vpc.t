#!/bin/bash
# vpc beside the peer: new images, sizes, both ways, damage, differences, other readers.
. "${0%/*}/../tap.sh"
. "$TOP/tests/interop/kit.sh"
skip_unless qemu-img qemu-io python3
peer_version qemu-img

export FMT=vpc CHECKS=
one_folder

# ---- new images: the same but for the UUID and the time --------------------------------------
# footer FILE FIELD VALUE...: sets bytes (AT HEX) in all footers, and their checksums
footer() { python3 - "$@" <<'END'
import sys
with open(sys.argv[1], "rb") as f:
    d = bytearray(f.read())
for o in {0, len(d) - 512}:
    if d[o:o + 8] == b"conectix":
        for at, value in zip(sys.argv[2::2], sys.argv[3::2]):
            at, value = int(at), bytes.fromhex(value)
            d[o + at:o + at + len(value)] = value
        d[o + 64:o + 68] = bytes(4)
        d[o + 64:o + 68] = (~sum(d[o:o + 512]) & 0xffffffff).to_bytes(4, "big")
with open(sys.argv[1], "wb") as f:
    f.write(d)
END
}
blank() { footer "$1" 24 00000000 68 "$(printf '0%.0s' {1..32})"; }
for o in '' force_size=on subformat=fixed subformat=fixed,force_size=on; do
	for s in 0 1 511 512 1M 1048577 1000000 100M 127G 136899993600 136899993601 2040G; do
		case $o,$s in *fixed*,1?????????* | *fixed*,100M | *fixed*,*G) continue ;; esac
		rm -f ours/w ours/r
		qimg create -q -f vpc ${o:+-o "$o"} ours/w $s
		peer create -q -f vpc ${o:+-o "$o"} ours/r $s
		blank ours/w
		blank ours/r
		ok -n "the same file: create '$o' $s" cmp ours/w ours/r
	done
done
sizes=$(python3 -c '
import random
random.seed(7)
print(*(random.randrange(1 << random.randrange(9, 41)) for _ in range(40)))')
for s in $sizes; do
	rm -f ours/w ours/r
	qimg create -q -f vpc ours/w "$s"
	peer create -q -f vpc ours/r "$s"
	is "$(od -An -tx1 -j40 -N20 ours/w)" "$(od -An -tx1 -j40 -N20 ours/r)" "size and geometry of $s"
done
for a in 'x 2190433320961' 'x 2041G' '-o force_size=on x 2041G' '-o subformat=sparse x 5M' \
	'-o force_size=maybe x 5M' '-o preallocation=full x 5M' '-b r -F vpc x 5M' '-o uuid=1 x 5M' \
	'-o help' '-o help x' '-o subformat=fixed,force_size=on x 5M'; do
	# shellcheck disable=SC2086
	same_output -n "create $a" create -f vpc $a
done
stderr=$(platter create -q -f vpc ours/w 1M 2>&1)
is "$stderr" '' 'quiet: nothing is said of the size'
stderr=$(platter create -f vpc ours/w 1M 2>&1 >/dev/null)
like "$stderr" '1079296 bytes, not 1048576' 'a size that was rounded is told'
stderr=$(platter create -f vpc -o force_size=on ours/w 1M 2>&1 >/dev/null)
is "$stderr" '' 'and not, where it was kept'
for n in 1 2; do
	SOURCE_DATE_EPOCH=1700000000 platter create -q -f vpc \
		-o uuid=12345678-1234-4123-8123-123456789abc ours/same$n 20M
done
ok -n 'an image can be made again' cmp ours/same1 ours/same2
platter create -q -f vpc -o uuid=12345678-1234-4123-8123-123456789abc,timestamp=1700000000 ours/w 20M
ok -n 'timestamp=' cmp ours/same1 ours/w

# ---- both ways ------------------------------------------------------------------------------
other_reader() {
	local size
	size=$(stat -c %s "$2")
	[ "$size" -gt 0 ] && [ "$size" -lt 1000000000 ] || return
	! command -v 7z >/dev/null || ok -n "$1: as 7z reads it" bash -c '
		7z e -so -tvhd "$2" 2>/dev/null | head -c "$(stat -c %s "$1")" | cmp - "$1"' - "$2" "$3"
	! command -v vhdiinfo >/dev/null || ok -n "$1: libvhdi knows it" vhdiinfo "$3"
}
: >ours/empty
printf x >ours/one
head -c 512 /dev/urandom >ours/sector
noise ours/mixed 30001000
truncate -s 20M ours/zero
head -c 3M /dev/urandom >ours/dense
for d in empty one sector mixed zero dense; do
	both_ways "$d" $d -o force_size=on
done
truncate -s 1900G ours/far
printf data | dd of=ours/far bs=1 seek=2000000000000 conv=notrunc status=none
both_ways 'far' far -o force_size=on
rm ours/far
# by geometry the disk is longer: the rest is zeros
for d in mixed dense; do
	rm -f ours/w ours/r
	qimg convert -f raw -O vpc ours/$d ours/w
	peer convert -f raw -O vpc ours/$d ours/r
	ok -n "$d, rounded: the same" peer compare -q -f vpc -F vpc ours/w ours/r
	ok -n "$d, rounded: the same to us" qimg compare -q -f vpc -F vpc ours/w ours/r
	is "$(stat -c %s ours/w)" "$(stat -c %s ours/r)" "$d, rounded: as long a file"
done
# a fixed one has to be named to the peer
for d in one sector mixed zero dense; do
	o=subformat=fixed,force_size=on
	rm -f ours/w ours/r
	ok -n "$d, fixed: we write" qimg convert -f raw -O vpc -o $o ours/$d ours/w
	ok -n "$d, fixed: the same" peer compare -q -f raw -F vpc ours/$d ours/w
	other_reader "$d, fixed" ours/$d ours/w
	peer convert -f raw -O vpc -o $o ours/$d ours/r
	same_output -n "$d, fixed: map" map -f vpc --output=json r
	same_output -n "$d, fixed: info" info -f vpc --output=json r
	ok -n "$d, fixed: compare, and found without a name" qimg compare -q -f raw ours/$d ours/r
	is "$(stat -c %s ours/w)" "$(stat -c %s ours/r)" "$d, fixed: as long a file"
done
is "$(qimg info --output=json ours/r | python3 -c 'import json, sys; print(json.load(sys.stdin)["format"])')" \
	vpc 'a fixed image is found by its end'
ok -n 'and can be read as raw' qimg compare -q -f raw -F raw ours/r ours/r

# ---- into what is there -----------------------------------------------------------------------
io_both() { # NAME IO...: the same writes, by the peer, into an image of ours and one of its own
	local name=$1 c args=() o
	shift
	for c; do args+=(-c "$c"); done
	for o in force_size=on subformat=fixed,force_size=on; do
		rm -f ours/w ours/r
		qimg convert -f raw -O vpc -o $o ours/mixed ours/w
		peer convert -f raw -O vpc -o $o ours/mixed ours/r
		io -f vpc "${args[@]}" ours/w
		io -f vpc "${args[@]}" ours/r
		ok -n "$name, $o: the same" peer compare -q -f vpc -F vpc ours/w ours/r
		ok -n "$name, $o: sound to us" platter check -q -f vpc ours/w
		ok -n "$name, $o: the same to us" qimg compare -q -f vpc -F vpc ours/w ours/r
	done
}
io_both 'the peer writes into ours' 'write -P 7 0 5k' 'write -P 8 20M 3M' 'write -z 1M 1M' \
	'write -P 9 29297k 512'
for o in force_size=on subformat=fixed,force_size=on; do
	for d in dense zero mixed; do
		rm -f ours/w
		peer create -q -f vpc -o $o ours/w 40M
		io -f vpc -c 'write -P 3 1M 300k' -c 'write -P 4 35M 4M' -c 'write -P 5 6291k 9k' ours/w
		peer convert -f vpc -O raw ours/w ours/want
		dd if=ours/$d of=ours/want conv=notrunc bs=1M status=none
		ok -n "we write $d over it, $o" qimg convert -n -f raw -O vpc ours/$d ours/w
		ok -n "$d, $o: sound" platter check -q -f vpc ours/w
		peer convert -f vpc -O raw ours/w ours/back
		ok -n "$d, $o: what was there stays" cmp ours/want ours/back
	done
done
for a in 'resize x +1M' 'resize --shrink x 1M' 'snapshot -c s x' 'amend -o size=1M x' \
	'rebase -u -b r -F raw x' 'check x' 'commit x' 'measure -O vpc x' 'map x'; do
	peer create -q -f vpc ours/x 5M
	# shellcheck disable=SC2086
	same_output -n "$a" ${a%% *} ${a#* }
done
# over one of the peer's, with an overlay of the peer's
rm -f ours/w
peer create -q -f vpc -o force_size=on ours/w 40M
io -f vpc -c 'write -P 3 1M 300k' ours/w
peer create -q -f qcow2 -b w -F vpc ours/top
io -c 'write -P 9 1100k 3M' -c 'write -P 8 30M 1k' ours/top
peer convert -O raw ours/top ours/want
ok -n 'commit into it' qimg commit -q ours/top
ok -n 'commit: as it should be' peer compare -q -f vpc -F raw ours/w ours/want

# ---- which size: whose footer it is ---------------------------------------------------------
size_of() { # FILE OPTION: the peer's and ours
	local tool
	for tool in peer qimg; do
		$tool info --output=json --image-opts "driver=vpc,file.filename=ours/$1${2:-}" |
			grep -o '"virtual-size": [0-9]*' | head -1
	done | tr -d '\n'
}
twice() { [ -n "$1" ] && [ "${1:0:${#1}/2}" = "${1:${#1}/2}" ]; }
for f in dynamic fixed; do
	for c in vpc\  vs\ \  d2v\  tap vbox win\  qemu qem2 'vmm ' zzzz; do
		rm -f ours/x
		peer create -q -f vpc -o subformat=$f,force_size=on ours/x 10M
		# 20 * 16 * 63 sectors: less than there are
		footer ours/x 28 "$(printf %-4s "$c" | sed "s/^tap $/tap\x01/" | od -An -tx1 | tr -d ' ' | sed 's/01$/00/')" \
			56 0014103f
		for o in '' ,force_size_calc=chs ,force_size_calc=current_size; do
			ok -n "$f, creator '$c': the size$o" twice "$(size_of x $o)"
		done
	done
done
footer ours/x 28 76626f78
stderr=$(platter info -f vpc ours/x 2>&1 >/dev/null)
like "$stderr" 'taken to have the 10321920 bytes .* 10485760' 'a size that is doubtful is told'
stderr=$(qimg info -f vpc ours/x 2>&1 >/dev/null)
is "$stderr" '' 'but not where the peer does not'
same_output -n 'force_size_calc: another' info --image-opts driver=vpc,file.filename=x,force_size_calc=x

# ---- damage ---------------------------------------------------------------------------------
poke() { # AT VALUE: a 32-bit number in a copy of the image, the first footer's checksum set
	cp ours/good ours/bad
	python3 - ours/bad "$@" <<'END'
import struct, sys
f = open(sys.argv[1], "r+b")
f.seek(int(sys.argv[2], 0))
f.write(struct.pack(">I", int(sys.argv[3], 0)))
if len(sys.argv) > 4:
    f.seek(0)
    d = bytearray(f.read(512))
    d[64:68] = bytes(4)
    f.seek(64)
    f.write(struct.pack(">I", ~sum(d) & 0xffffffff))
END
}
rm -f ours/good
peer create -q -f vpc -o force_size=on ours/good 10M
io -f vpc -c 'write 2M 1k' -c 'write 5M 1k' ours/good
for e in '8 0' '12 0x20000' '20 1024' '20 0x40000000' '48 1' '52 9000000 sum' \
	'60 9 sum' '512 0' '524 0' '528 0x80000000' '536 0' '540 4' '540 100' '540 0x20000000' \
	'540 0xffffffff' '544 0' '544 511' '544 3145728' '544 0x80000000' '548 0' '552 5' \
	'1540 0xfffffffe' '1540 100000' '1540 4101'; do
	# shellcheck disable=SC2086
	poke $e ${e##*sum}
	same_output -n "info: $e" info -f vpc bad
done
# the peer takes the copy at the beginning alone; we take the other one where that is damaged
cp ours/good ours/bad
printf 'x' | dd of=ours/bad bs=1 seek=80 conv=notrunc status=none
exits 2 -n 'a damaged copy of the footer: an error' platter check -q -f vpc ours/bad
ok -n 'and read all the same' qimg compare -q -f vpc -F vpc ours/good ours/bad
exits 1 -n 'which the peer does not' peer info -f vpc ours/bad
ok -n 'it is repaired' platter check -q -r all -f vpc ours/bad
ok -n 'and is as it was' cmp ours/good ours/bad
cp ours/good ours/bad
truncate -s -512 ours/bad
exits 2 -n 'no footer at the end: an error' platter check -q -f vpc ours/bad
ok -n 'it is repaired' platter check -q -r all -f vpc ours/bad
ok -n 'and is as it was' cmp ours/good ours/bad
poke 1540 0xfffffff0
exits 2 -n 'an entry that leads nowhere' platter check -q -f vpc ours/bad

# ---- what a guest writes --------------------------------------------------------------------
# raw, with a fixed image's footer at its end: taken for that; with another one, not
rm -f ours/f
peer create -q -f vpc -o subformat=fixed,force_size=on ours/f 1M
format_of() { qimg info --output=json "$@" | grep -o '"format": "[a-z]*"' | tail -1; }
is "$(format_of ours/f)" '"format": "vpc"' 'a raw file that ends in such a footer'
is "$(format_of -f raw ours/f)" '"format": "raw"' 'unless told otherwise'
(head -c 512 /dev/zero && cat ours/f) >ours/g
is "$(format_of ours/g)" '"format": "raw"' 'not with another size'
cp ours/f ours/g
printf x | dd of=ours/g bs=1 seek=$((1048576 + 84)) conv=notrunc status=none
is "$(format_of ours/g)" '"format": "raw"' 'not with another checksum'
truncate -s 1049088 ours/g
tail -c 512 ours/f >ours/foot
head -c 1049088 /dev/zero >ours/g
exits 1 -n 'who probed raw cannot make it one' platter dd -q -n -f raw if=ours/foot of=ours/g \
	bs=512 seek=2048
is "$(tail -c 512 ours/g | tr -d '\0' | wc -c)" 0 'and nothing was written'

# ---- differences ------------------------------------------------------------------------------
rm -f ours/p.vhd ours/k.vhd
qimg convert -f raw -O vpc -o force_size=on ours/mixed ours/p.vhd
mkdir ours/sub
for k in k.vhd sub/k.vhd; do
	up=p.vhd
	[ $k = k.vhd ] || up=../p.vhd
	rm -f ours/$k
	ok -n "$k: create" platter create -q -f vpc -b $up -F vpc ours/$k
	ok -n "$k: the same disk" platter compare -q -f vpc -F raw ours/$k ours/mixed
	cp ours/mixed ours/want
	truncate -s 30001152 ours/want
	while read -r at n with; do
		platter bench -q -w -c 1 -d 1 -f vpc -o "$at" -s "$n" --pattern="$with" ours/$k >/dev/null ||
			fail "bench $at"
		head -c "$n" /dev/zero | tr '\0' "\\$(printf %o "$with")" |
			dd of=ours/want bs=64k seek="$at" oflag=seek_bytes conv=notrunc status=none
	done <<-END
		0 1 1
		5000 700 2
		100000 65536 3
		2000000 3000000 4
		2097152 512 5
		30000000 1152 6
		12582912 2097152 7
	END
	ok -n "$k: what was written" platter compare -q -f vpc -F raw ours/$k ours/want
	ok -n "$k: sound" platter check -q -f vpc ours/$k
	ok -n "$k: converted" platter convert -q -f vpc -O raw ours/$k ours/back
	ok -n "$k: the same" cmp ours/back ours/want
	[ $k = k.vhd ] || continue
	! command -v 7z >/dev/null || ok -n 'the same to 7z, with the parent' bash -c \
		'cd ours && 7z e -so -tvhd k.vhd 2>/dev/null | cmp - want'
done
if command -v vhdiinfo >/dev/null; then
	ok -n 'libvhdi knows the parent' grep -q 'Parent filename.*: p.vhd' <(vhdiinfo ours/k.vhd)
fi
is "$(platter info --output=json ours/sub/k.vhd | grep -o '"backing-filename": "[^"]*"')" \
	'"backing-filename": "../p.vhd"' 'the relative name'
ok -n 'committed' platter commit -q ours/k.vhd
ok -n 'the parent has it' platter compare -q -f vpc -F raw ours/p.vhd ours/want
is "$(stat -c %s ours/k.vhd)" 3072 'the child is empty'
platter create -q -f vpc -o force_size=on ours/other.vhd 30001000
mv ours/other.vhd ours/p.vhd
nok -n 'another parent is refused' platter compare -q -f vpc -F raw ours/k.vhd ours/want
rm ours/p.vhd
exits 1 -n 'a missing one, too' platter convert -f vpc -O raw ours/k.vhd ours/back
exits 0 -n 'info does without' platter info ours/k.vhd
exits 1 -n 'no parent of another format' platter create -f vpc -b mixed -F raw ours/k2.vhd
exits 1 -n 'nor of another size' platter create -f vpc -b r -F vpc ours/k2.vhd 1G
done_testing
