#!/bin/bash
# qed beside the peer: new images, both ways, backing files, growth, damage and repair.
. "${0%/*}/../tap.sh"
. "$TOP/tests/interop/kit.sh"
skip_unless qemu-img qemu-io python3
peer_version qemu-img

export FMT=qed
one_folder

# ---- new images: the same bytes -----------------------------------------------------------
: >ours/base
for o in '' cluster_size=4k,table_size=2 cluster_size=1M,table_size=1 cluster_size=16k,table_size=16 \
	backing_file=base,backing_fmt=raw backing_file=base,backing_fmt=qcow2 backing_fmt=raw \
	preallocation=full; do
	for s in 0 1 511 512 1M 1048577 100M 3T; do
		[ -z "$o" ] || [ $s != 3T ] || continue
		rm -f ours/w ours/r
		# shellcheck disable=SC2086
		qimg create -q -u -f qed ${o:+-o "$o"} ours/w $s >ours/w.out 2>&1
		# shellcheck disable=SC2086
		peer create -q -u -f qed ${o:+-o "$o"} ours/r $s >ours/r.out 2>&1
		[ -s ours/r.out ] && continue
		ok -n "the same file: create '$o' $s" cmp ours/w ours/r
	done
done
for a in 'x 64T' 'x 65T' '-o cluster_size=4k,table_size=1 x 1G' \
	'-o cluster_size=4k,table_size=1 x 1025M' '-o cluster_size=2k x 1M' \
	'-o cluster_size=5000 x 1M' '-o cluster_size=128M x 1M' '-o cluster_size=0 x 1M' \
	'-o cluster_size=64M x 1M' '-o table_size=0 x 1M' '-o table_size=3 x 1M' \
	'-o table_size=32 x 1M' '-o preallocation=metadata x 1M' '-o preallocation=no x 1M' \
	'-o preallocation=falloc x 1M' '-o backing_fmt=raw x 1M' \
	'-b base -F raw x' '-b none -F raw x 1M' '-o lazy_refcounts=on x 1M' '-o help' \
	'-o help x' '-o table_size=2,backing_file=base,backing_fmt=raw,size=5M x'; do
	# shellcheck disable=SC2086
	same_output -n "create $a" create -f qed $a
	rm -f ours/x
done
same_output -n 'amend' amend -f qed -o help
same_output -n 'measure' measure -O qed --size 1G

# ---- both ways --------------------------------------------------------------------------
: >ours/empty
printf x >ours/one
head -c 512 /dev/urandom >ours/sector
noise ours/mixed 30001000
truncate -s 20M ours/zero
head -c 3M /dev/urandom >ours/dense
for d in empty one sector mixed zero dense; do
	both_ways "$d" $d
	both_ways "$d, small" $d -o cluster_size=4k,table_size=2
done
both_ways 'mixed, large' mixed -o cluster_size=2M,table_size=2
truncate -s 3300G ours/far
printf data | dd of=ours/far bs=1 seek=3300000000000 conv=notrunc status=none
both_ways 'beyond 2 TiB' far
rm ours/far

# ---- into what is there -----------------------------------------------------------------
io_both() { # NAME IO...: the same writes, by the peer, into an image of ours and one of its own
	local name=$1 c args=()
	shift
	for c; do args+=(-c "$c"); done
	rm -f ours/w ours/r
	qimg convert -O qed ours/mixed ours/w
	peer convert -O qed ours/mixed ours/r
	io -f qed "${args[@]}" ours/w
	io -f qed "${args[@]}" ours/r
	ok -n "$name: sound" peer_checks ours/w
	ok -n "$name: the same" peer compare -q -f qed -F qed ours/w ours/r
	ok -n "$name: the same to us" qimg compare -q -f qed -F qed ours/w ours/r
	ok -n "$name: sound to us" qimg check -q -f qed ours/w
}
io_both 'the peer writes into ours' 'write -P 7 0 5k' 'write -P 8 20M 3M' 'write -z 1M 1M' \
	'write -P 9 29297k 512'
for d in dense zero mixed; do
	rm -f ours/w
	peer create -q -f qed -o cluster_size=8k ours/w 40M
	io -f qed -c 'write -P 3 1M 300k' -c 'write -P 4 35M 4M' -c 'write -z 2M 1M' \
		-c 'write -P 5 6291k 9k' ours/w
	peer convert -O raw ours/w ours/want
	dd if=ours/$d of=ours/want conv=notrunc bs=1M status=none
	ok -n "we write $d over it" qimg convert -n -f raw -O qed ours/$d ours/w
	ok -n "$d: sound" peer_checks ours/w
	peer convert -O raw ours/w ours/back
	ok -n "$d: what was there stays" cmp ours/want ours/back
done

# ---- chains -----------------------------------------------------------------------------
chain() {
	layer low.raw raw '' 9M 1
	layer mid.qed qed cluster_size=8k,table_size=2 12M 2 low.raw
	layer top.qed qed '' 16M 3 mid.qed
}
chain_in() { (cd "$1" && chain); }
chain_in ours
for c in 'info --backing-chain' 'info -U --output=json --backing-chain' map 'map --output=json' \
	check 'check --output=json'; do
	# shellcheck disable=SC2086
	same_output -n "a chain: $c" $c top.qed
done
ok -n 'a chain: its contents' bash -c '
	"$QIMG" convert -O raw ours/top.qed ours/a && "$PEER" convert -O raw ours/top.qed ours/b &&
	cmp ours/a ours/b'

# each in a folder of its own from here on: commands that change images
twins
in_twins() { # NAME ARG...: what is said, and the disk afterwards
	local name=$1
	shift
	chain_in ours
	chain_in peer
	same_output -n "$name" "$@"
	for f in top.qed mid.qed; do
		ok -n "$name: $f is sound" peer check -q ours/$f
		is "$(cd ours && peer info --output=json $f | grep -v actual-size)" \
			"$(cd peer && peer info --output=json $f | grep -v actual-size)" "$name: $f"
		ok -n "$name: the disk of $f" raw_equal ours/$f peer/$f
	done
}
in_twins 'rebase to another' rebase -b low.raw -F raw top.qed
in_twins 'rebase to none' rebase -b '' top.qed
in_twins 'rebase -u' rebase -u -b low.raw -F raw top.qed
in_twins 'rebase -u, a long name' rebase -u -b \
	"././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././././low.raw" \
	-F raw top.qed
in_twins 'rebase -u to none' rebase -u -b '' top.qed
in_twins 'rebase -u, the format not said' rebase -u -b mid.qed -F qed top.qed
in_twins 'commit' commit top.qed
in_twins 'commit -d' commit -d top.qed
in_twins 'resize' resize top.qed 20M
in_twins 'resize over a longer image' resize mid.qed 13M
for a in 'top.qed 10M' '--shrink top.qed 10M' '--preallocation=full top.qed 30M' \
	'top.qed 100T' 'top.qed 17000001'; do
	# shellcheck disable=SC2086
	in_twins "resize $a" resize -f qed $a
done

# ---- damage ---------------------------------------------------------------------------
poke() { # AT:BITS=VALUE...: little-endian numbers in copies of the image
	for d in ours peer; do
		cp good $d/bad
		[ -z "${CUT:-}" ] || truncate -s "$CUT" $d/bad
		python3 - $d/bad "$@" <<'END'
import re, struct, sys
f = open(sys.argv[1], "r+b")
for a in sys.argv[2:]:
    at, bits, value = re.split("[:=]", a)
    f.seek(int(at, 0))
    f.write(struct.pack({"32": "<I", "64": "<Q"}[bits], int(value, 0)))
END
	done
}
twins
peer create -q -f qed -o cluster_size=4k,table_size=2 good 32M
io -f qed -c 'write -P 1 0 20k' -c 'write -P 2 6M 8k' -c 'write -P 3 12M 4k' good
for e in 0:32=0 4:32=2048 4:32=0 4:32=0x8000000 4:32=70000 8:32=0 8:32=3 8:32=32 12:32=100 \
	12:32=0xffffffff 16:64=8 16:64=0x8000000000000000 16:64=4 16:64=2 24:64=5 32:64=7 40:64=0 \
	40:64=0x1001 40:64=0x10000 40:64=0x10000000 48:64=513 48:64=0x7fffffffffffffff \
	48:64=0x100000000 48:64=0x100000200 '16:64=1 56:32=70000' '16:64=1 56:32=64 60:32=70000' \
	'16:64=1 56:32=0xfffffff0 60:32=5' '16:64=1 56:32=64 60:32=0'; do
	# shellcheck disable=SC2086
	poke $e
	same_output -n "info: $e" info -f qed bad
	same_output -n "check: $e" check -f qed bad
done
for e in 16:64=0 16:64=2 0x8000:64=0x4000 0x8000:64=0x3800 0x8000:64=0x100000 0x8000:64=1 \
	0x8000:64=2 0x8000:64=0x1000 0x8000:64=0xc000 0x8000:64=0 0x1000:64=0 0x1000:64=0xc000 \
	0x1000:64=0x100000 0x1000:64=0x8001 0x1000:64=1 0x1000:64=0x10000 0x1ff8:64=0x8000 \
	0x8040:64=0x100000 0xdff8:64=0x5000 0x1000:64=0x5000 0x1000:64=0xfffffffffffff000; do
	poke $e
	same_output -n "check: $e" check -f qed bad
	same_output -n "check, JSON: $e" check -f qed --output=json bad
	qimg check -q -f qed -r all ours/bad
	peer check -q -f qed -r all peer/bad
	# leaks are repaired here, not there; what is used twice stays
	now=0
	qimg check -q -f qed ours/bad || now=2
	exits "$now" -n "$e: repaired, as the peer sees it" peer check -q -f qed ours/bad
	[ "$now" = 2 ] || ok -n "$e: the disk that the peer repairs" raw_equal ours/bad peer/bad
done
for CUT in 262144 69700 65636 61440 53248; do
	poke
	same_output -n "check: cut to $CUT" check -f qed bad
	qimg check -q -f qed -r all ours/bad
	peer check -q -f qed -r all peer/bad
	ok -n "cut to $CUT: repaired" peer check -q ours/bad
	ok -n "cut to $CUT: the disk that the peer repairs" raw_equal ours/bad peer/bad
done

# ---- the need-check bit -------------------------------------------------------------------
unset CUT
poke 16:64=2 0x8000:64=0x100000
same_output -n 'it is read without a check' compare -f qed -F qed bad bad
ok -n 'before it is written it is repaired' qimg resize -f qed ours/bad 40M
ok -n 'and clean afterwards' peer check -q ours/bad
is "$(od -An -tu1 -j16 -N1 ours/bad | tr -d ' ')" 0 'the bit is cleared'
poke 16:64=2 0x8000:64=0x4000
nok -n 'what cannot be repaired is not written' qimg resize -f qed ours/bad 40M
done_testing
