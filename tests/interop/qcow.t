#!/bin/bash
# qcow (version 1) beside the peer: new images, both ways, compressed, backing files, damage.
. "${0%/*}/../tap.sh"
. "$TOP/tests/interop/kit.sh"
skip_unless qemu-img qemu-io python3
peer_version qemu-img

export FMT=qcow CHECKS=''
one_folder

# ---- new images: the same bytes -----------------------------------------------------------
: >ours/base
for o in '' backing_file=base,backing_fmt=raw backing_file=base7890,backing_fmt=qcow2 \
	backing_fmt=raw preallocation=full encryption=off; do
	for s in 1 511 512 513 1M 1048577 100M 3T; do
		[ -z "$o" ] || [ $s != 3T ] || continue
		rm -f ours/w ours/r
		# shellcheck disable=SC2086
		qimg create -q -u -f qcow ${o:+-o "$o"} ours/w $s
		# shellcheck disable=SC2086
		peer create -q -u -f qcow ${o:+-o "$o"} ours/r $s
		ok -n "the same file: create '$o' $s" cmp ours/w ours/r
	done
done
for a in 'x 0' '-o cluster_size=4k x 1M' '-o encryption=on x 1M' '-o encrypt.format=aes x 1M' \
	'-o encrypt.format=luks x 1M' '-o encrypt.format=aes,encryption=on x 1M' \
	'-o encrypt.key-secret=x x 1M' '-o encrypt.cipher-alg=aes-128 x 1M' \
	'-o preallocation=metadata x 1M' '-o preallocation=no x 1M' '-o backing_fmt=raw x 1M' \
	'-b base -F raw x 1M' '-b none -F raw x 1M' \
	'-o backing_file=base,backing_fmt=raw,encryption=off,size=5M x' '-o help' '-o help x'; do
	# shellcheck disable=SC2086
	same_output -n "create $a" create -f qcow $a
	rm -f ours/x
done
same_output -n 'amend' amend -f qcow -o help
same_output -n 'measure' measure -O qcow --size 1G
nok -n 'a size that the peer does not open' qimg create -q -f qcow ours/x 512T
nok -n 'encryption is refused' qimg create -q -f qcow -o encrypt.format=aes,encrypt.key-secret=s \
	ours/x 1M

# ---- both ways --------------------------------------------------------------------------
other_reader() {
	command -v qcowinfo >/dev/null || return
	ok -n "$1: as qcowinfo reads it" bash -c 'qcowinfo "$1" | grep -q "Format version.*: 1"' - "$3"
}
printf x >ours/one
head -c 512 /dev/urandom >ours/sector
noise ours/mixed 30001000
truncate -s 20M ours/zero
head -c 3M /dev/urandom >ours/dense
# the peer's convert -c writes a good image and exits with 1, without a word
packed_ways() { # NAME RAW
	rm -f ours/w ours/r
	ok -n "we write $1" qimg convert -c -f raw -O qcow "ours/$2" ours/w
	ok -n "$1: the same disk" peer compare -q -f raw -F qcow "ours/$2" ours/w
	peer convert -c -f raw -O qcow "ours/$2" ours/r || :
	same_output -n "$1: map" map --output=json r
	same_output -n "$1: info" info --output=json r
	ok -n "$1: compare" qimg compare -q -f raw -F qcow "ours/$2" ours/r
	ok -n "$1: not larger by a lot" [ "$(stat -c %s ours/w)" -le $(($(stat -c %s ours/r) * 112 / 100)) ]
}
for d in one sector mixed zero dense; do
	both_ways "$d" $d
	packed_ways "$d, compressed" $d
done
# beyond 2 TiB: there the peer walks for minutes
peer create -q -f qcow ours/r 2200G
io -f qcow -c 'write -P 5 2300000000000 3k' ours/r
ok -n 'beyond 2 TiB: we read' qimg convert -O raw ours/r ours/far
ok -n 'beyond 2 TiB: what is there' qemu-io -r -f raw -c 'read -P 5 2300000000000 3k' ours/far
ok -n 'beyond 2 TiB: we write' qimg convert -f raw -O qcow ours/far ours/w
run qemu-io -r -f qcow -c 'read -P 5 2300000000000 3k' -c 'read -P 0 1500G 1M' ours/w
unlike "$out" 'failed' 'beyond 2 TiB: as the peer reads it'
rm ours/far

# ---- compressed clusters carried over ----------------------------------------------------
ok -n 'qcow to qcow2' qimg convert -c -O qcow2 -o cluster_size=4k ours/r ours/carried
peer convert -c -f raw -O qcow ours/mixed ours/r || :
ok -n 'qcow to qcow2, carried' qimg convert -c -O qcow2 -o cluster_size=4k ours/r ours/carried
ok -n 'sound' peer check -q ours/carried
ok -n 'the same disk' peer compare -q -f raw ours/mixed ours/carried
ok -n 'and back' qimg convert -c -O qcow ours/carried ours/back
ok -n 'the same disk, back' peer compare -q -f raw -F qcow ours/mixed ours/back

# ---- into what is there -----------------------------------------------------------------
io_both() { # NAME HOW IO...: the same writes, by the peer, into an image of ours and one of its own
	local name=$1 how=$2 c args=()
	shift 2
	for c; do args+=(-c "$c"); done
	rm -f ours/w ours/r
	# shellcheck disable=SC2086
	qimg convert $how -f raw -O qcow ours/mixed ours/w
	# shellcheck disable=SC2086
	peer convert $how -f raw -O qcow ours/mixed ours/r || :
	io -f qcow "${args[@]}" ours/w
	io -f qcow "${args[@]}" ours/r
	ok -n "$name: the same" peer compare -q -f qcow -F qcow ours/w ours/r
	ok -n "$name: the same to us" qimg compare -q -f qcow -F qcow ours/w ours/r
}
for how in '' -c; do
	io_both "the peer writes into ours $how" "$how" 'write -P 7 0 5k' 'write -P 8 20M 3M' \
		'write -P 0 1M 1M' 'write -P 9 29297k 512'
done
for d in dense zero mixed; do
	rm -f ours/w
	peer create -q -f qcow ours/w 40M
	io -f qcow -c 'write -P 3 1M 300k' -c 'write -P 4 35M 4M' -c 'write -P 5 6291k 9k' \
		-c 'write -c -P 6 8M 4k' ours/w
	peer convert -O raw ours/w ours/want
	dd if=ours/$d of=ours/want conv=notrunc bs=1M status=none
	cp ours/w ours/w2
	ok -n "we write $d over it" qimg convert -n -f raw -O qcow ours/$d ours/w
	peer convert -O raw ours/w ours/back
	ok -n "$d: what was there stays" cmp ours/want ours/back
	ok -n "we write $d over it, compressed" qimg convert -c -n -f raw -O qcow ours/$d ours/w2
	peer convert -O raw ours/w2 ours/back
	ok -n "$d, compressed: what was there stays" cmp ours/want ours/back
done

# ---- chains -----------------------------------------------------------------------------
chain() {
	layer low.raw raw '' 9M 1
	layer mid.qcow qcow '' 12M 2 low.raw
	layer top.qcow qcow '' 16M 3 mid.qcow
}
chain_in() { (cd "$1" && chain); }
chain_in ours
for c in 'info --backing-chain' 'info -U --output=json --backing-chain' map 'map --output=json' check; do
	# shellcheck disable=SC2086
	same_output -n "a chain: $c" $c top.qcow
done
ok -n 'a chain: its contents' bash -c '
	"$QIMG" convert -O raw ours/top.qcow ours/a && "$PEER" convert -O raw ours/top.qcow ours/b &&
	cmp ours/a ours/b'
ok -n 'an overlay, by convert -B' qimg convert -c -O qcow -B mid.qcow -F qcow ours/top.qcow ours/w
ok -n 'its disk' bash -c 'cd ours && "$PEER" compare -q w top.qcow'

twins
in_twins() { # NAME ARG...: what is said, and the disk afterwards
	local name=$1
	shift
	chain_in ours
	chain_in peer
	same_output -n "$name" "$@"
	for f in top.qcow mid.qcow; do
		is "$(cd ours && peer info --output=json $f | grep -v actual-size)" \
			"$(cd peer && peer info --output=json $f | grep -v actual-size)" "$name: $f"
		ok -n "$name: the disk of $f" raw_equal ours/$f peer/$f
	done
}
in_twins 'rebase -u' rebase -u -b low.raw -F raw top.qcow
in_twins 'rebase' rebase -b low.raw -F raw top.qcow
in_twins 'commit' commit top.qcow
is "$(stat -c %s ours/top.qcow)" "$(stat -c %s peer/top.qcow)" 'commit: nothing left'
in_twins 'commit -d' commit -d top.qcow
in_twins 'resize' resize top.qcow 20M
ok -n 'written after a commit' qimg convert -n -f raw -O qcow ours/low.raw ours/top.qcow
ok -n 'and there' bash -c 'cd ours && "$PEER" convert -O raw top.qcow a &&
	cmp -n 9437184 a low.raw'

# ---- damage ---------------------------------------------------------------------------
poke() { # AT:BITS=VALUE...: big-endian numbers in copies of the image
	for d in ours peer; do
		cp good $d/bad
		python3 - $d/bad "$@" <<'END'
import re, struct, sys
f = open(sys.argv[1], "r+b")
for a in sys.argv[2:]:
    at, bits, value = re.split("[:=]", a)
    f.seek(int(at, 0))
    f.write(struct.pack({"8": "B", "16": ">H", "32": ">I", "64": ">Q"}[bits], int(value, 0)))
END
	done
}
twins
peer create -q -u -f qcow -b a -F raw good 100M
for e in 0:32=0 4:32=0 4:32=2 4:32=3 4:32=5 8:64=0 16:32=1024 16:32=0 24:64=0 24:64=1 24:64=2 \
	24:64=513 24:64=0x7fffffffffffffff 24:64=0x4000000000000000 24:64=0x400000000000000 32:8=8 \
	32:8=9 32:8=10 32:8=16 32:8=17 32:8=64 33:8=0 33:8=5 33:8=13 33:8=14 33:8=64 34:16=1 \
	36:32=1 36:32=2 20:32=77; do
	poke $e
	same_output -n "info: $e" info -f qcow bad
	same_output -n "check: $e" -f '/^qemu-img: Could not open .*required/d; /not support checks/d' \
		info -f qcow --output=json bad
done
# the peer takes what is not in the file for zeros
for e in 40:64=0x100000 40:64=57 40:64=0x8000000000000000 24:64=0x100000000000 8:64=0x1000 40:64=0 \
	33:8=6; do
	poke $e
	nok -n "refused: $e" qimg info -f qcow ours/bad
	unlike "$err" $'\n.' "one line: $e"
done
peer create -q -f qcow good 8M
io -f qcow -c 'write -P 1 0 20k' -c 'write -c -P 2 4M 4k' good
for e in 0x30:64=0x100000 0x30:64=0x1001 0x30:64=0x8000000000001000 0x1000:64=0x7fffffffffffffff \
	0x1000:64=0x8000000000002000 0x1000:64=0xfff8000000002000 0x1000:64=0x8008000000002000; do
	poke $e
	nok -n "reading is refused: $e" qimg convert -f qcow -O raw ours/bad ours/out
done

# ---- encrypted --------------------------------------------------------------------------
peer create -q -f qcow --object secret,id=s,data=123456 \
	-o encrypt.format=aes,encrypt.key-secret=s good 1M
cp good ours/secret
cp good peer/secret
same_output -n 'info of an encrypted image' info secret
same_output -n 'info of an encrypted image, JSON' info --output=json secret
qemu-io --object secret,id=s,data=123456 --image-opts \
	driver=qcow,file.filename=ours/secret,encrypt.key-secret=s -c 'write 0 4k' >/dev/null
nok -n 'it is not read' qimg convert -O raw ours/secret ours/out
like "$err" 'key-secret' 'and says why'
nok -n 'it is not written' qimg convert -n -f raw -O qcow ours/low.raw ours/secret
done_testing
