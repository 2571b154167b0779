#!/bin/bash
# Persistent bitmaps against the peer: each command in twin folders, with the same words and
# exit codes, and after it the same bitmaps with the same bits, as the peer reads them over
# NBD. Then what either wrote, read by the other.
. "${0%/*}/../tap.sh"
. "$TOP/tests/interop/kit.sh"
skip_unless qemu-img qemu-io qemu-nbd nbdinfo
peer_version

# The peer calls an image #blockNNN there.
words="s/persistent in '[^']*'/persistent in X/; s/(bitmaps to) [^ ]*:/\1 X:/"

# names IMAGE: "NAME GRANULARITY FLAGS" a line
names() {
	peer info --output=json "$1" | python3 -c '
import json, sys
data = json.load(sys.stdin)["format-specific"]["data"]
for b in data.get("bitmaps", []):
    print(b["name"], b["granularity"], "".join(b["flags"]))'
}
# bits IMAGE NAME: the runs
bits() {
	(
		cd "${1%/*}" || exit
		nbdinfo --map=qemu:dirty-bitmap:"$2" \
			-- [ qemu-nbd -r -f qcow2 --bitmap="$2" "${1##*/}" ] | tr -s ' '
	)
}
all_bits() {
	local name rest
	names "$1" | while read -r name rest; do
		echo "$name $rest"
		case $rest in *in-use*) ;; *) bits "$1" "$name" ;; esac
	done
}
# alike IMAGE NAME: the twins have the same bitmaps, and ours is sound
alike() {
	is "$(all_bits "ours/$1")" "$(all_bits "peer/$1")" "$2: the same bitmaps"
	(cd ours && ok -n "$2: sound to the peer" peer check -q "$1")
	(cd ours && ok -n "$2: sound to us" qimg check -q "$1")
}
# both ARG...: the same words, and the same bitmaps in image a
both() {
	same_output -f "$words" bitmap "$@"
	alike a "$*"
}
# fails ARG...: the same words
fails() { same_output -f "$words" bitmap "$@"; }
# fresh ARG...: an empty image a in both
fresh() {
	rm -f ours/a peer/a
	twin peer create -q -f qcow2 "$@"
}
write_both() { twin qemu-io -f qcow2 "$@" >/dev/null; }

twins
# ---- commands --------------------------------------------------------------------------
fresh a 5M
both --add a one
both --add -g 512 a two
both --add --disable -g 1M a three
write_both -c 'write 100k 10k' -c 'write 3M 1M' a
alike a 'the peer wrote into both'
both --disable a two
both --merge one a three
both --merge two a one
both --merge three a two
both --merge two --merge one --clear a three
both --clear a two
both --enable a three
both --remove --add -g 4k a one
both --add --disable --add a twice
both --add --merge one --remove a none
both --merge three --merge one a two
both --remove a one
both --remove a two
both --remove a three
both --remove a twice
same_output -f 's/^disk size.*//' info a
fresh -o cluster_size=512 a 3M
both --add a small
write_both -c 'write 1M 1M' a
both --add -g 64k a coarse
both --merge small a coarse
both --merge coarse a small
fresh -o cluster_size=2M,extended_l2=on a 3M
both --add a large
fresh -o data_file=data a 3M
both --add a apart
fresh a 1536
both --add -g 512 a odd
write_both -c 'write 1024 512' a
both --add --merge odd a more
fresh a 64T
same_output bitmap --add a huge
both --remove a huge

# ---- sizes and names that cannot be -----------------------------------------------------
fresh a 1M
both --add a b
for g in 0 1 100 511 512 513 1000 1G 2G 2147483649 4G 7E 99999999999999999999 1.5k x -1 3x; do
	fails --add -g $g a "g$g"
done
same_output -f 's/^disk size.*//' info a
long=$(printf 'x%.0s' {1..1023})
fails --add a "$long"
fails --add a "${long}x"
fails --add a ''
fails --add -g 3 a ''
fails --add -g 3 a b
fails --add a b
both --remove a "$long"
for action in --remove --clear --enable --disable '--merge b' '--merge none'; do
	# shellcheck disable=SC2086
	fails $action a none
done
fails --merge none a b
both --merge b a b
fresh -o compat=0.10 a 1M
fails --add a b
fails --add -g 3 a b
fails --add a "${long}x"
fails --remove a b
for size in 2T $(((2 << 40) + 512)) 4T; do
	fresh -o cluster_size=2M a $size
	fails --add -g 512 a b
done
fails --add -g 512 a "${long}x"
twin truncate -s 1M raw
for args in '--add' '--add -g 3' '--clear' '--merge b'; do
	# shellcheck disable=SC2086
	fails $args -f raw raw b
done
fails --add -f raw raw ''
fails --add raw b

# ---- usage ---------------------------------------------------------------------------------
fresh a 1M
fails
fails a b
fails --add
fails --add a
fails --add a b c
fails --foo a b
fails --merge
fails --add=1 a b
fails -U --add a b
fails -g 64k a b
fails -g 64k --remove a b
fails -F raw --add a b
fails -b x --add a b
fails -g 1k -F raw -b x --clear
fails -b
fails -g x -F a
fails --add --image-opts -f raw
fails --add --image-opts -f raw a b
fails --add nofile b
fails --add -f foo a b
fails --add --image-opts a b
same_output bitmap --image-opts --add driver=qcow2,file.filename=a b
fails --rem a b

# ---- another image's bitmaps -----------------------------------------------------------------
for s in 1M 2M; do
	twin peer create -q -f qcow2 "src$s" $s
	twin peer bitmap --add -g 512 "src$s" s
	write_both -c 'write 513k 1k' -c 'write 900k 50k' "src$s"
done
both --add -g 64k a one
both --merge s -b src1M -F qcow2 a one
both --merge s -b src1M a one
both --merge none -b src1M a one
both --merge s -b src2M a one
both --merge s -b src1M -F raw a one
both --merge s -b nofile a one
both --merge s -b raw -F raw a one
both --merge one -b a a one
both --merge s -b src1M -F foo a one
both --add --merge s -b src1M -g 4k a new

# ---- inconsistent ones -----------------------------------------------------------------------
cp peer/a ours/a
twin cp a keep
q="$TOP/tests/interop/damage.py"
in_use() { twin python3 "$q" a "o = q.bitmaps()[$1] + 12; q.w32(o, q.r32(o) | 1)"; }
in_use 0
same_output -f 's/^disk size.*//' info a
for args in --clear --enable --disable '--merge new' --add; do
	# shellcheck disable=SC2086
	both $args a one
done
both --merge one a new
both --merge one -b a keep new
write_both -c 'write 0 1k' a
both --add a third
both --remove a one
twin cp keep a
in_use 1
both --remove --add a new
# not to be trusted at all
cp peer/keep ours/keep
twin cp keep a
twin python3 "$q" a 'q.w64(88, 0)'
for c in info map 'measure -O qcow2' check 'convert -O raw a out' 'compare a a'; do
	# shellcheck disable=SC2086
	case $c in
	*' a'*) same_output $c ;;
	*) same_output -f 's/^disk size.*//' $c a ;;
	esac
done
same_output bitmap --add a again
is "$(names ours/a)" "$(names peer/a)" 'the others are gone'
# broken
twin cp keep a
twin python3 "$q" a 'q.w(q.bitmaps()[1] + 17, b"\x28")'
for c in info map 'measure -O qcow2' check 'bitmap --remove a one'; do
	# shellcheck disable=SC2086
	case $c in
	*' a'*) same_output $c ;;
	*) same_output -f 's/^disk size.*//' $c a ;;
	esac
done
twin cp keep a
twin python3 "$q" a 'o = q.r64(q.bitmaps()[1]); q.w64(o, 0x50001)'
for c in info map 'bitmap --add a x'; do
	# shellcheck disable=SC2086
	case $c in
	*' a'*) same_output $c ;;
	*) same_output -f 's/^disk size.*//' $c a ;;
	esac
done

# ---- live --------------------------------------------------------------------------------------
noise src.raw 5000000
truncate -s 5M src.raw
head -c 100k /dev/zero | dd of=src.raw bs=1k seek=700 conv=notrunc status=none
for o in '' preallocation=metadata preallocation=full cluster_size=512 lazy_refcounts=on \
	cluster_size=16k,extended_l2=on data_file=live.data; do
	fresh ${o:+-o $o} a 5M
	twin peer bitmap --add -g 512 a fine
	twin peer bitmap --add -g 1M a coarse
	twin peer bitmap --add --disable a still
	same_output -n "live, $o" convert -n -f raw -O qcow2 ../src.raw a
	alike a "live, $o"
	(cd ours && ok -n "live, $o: the disk" peer compare -q -f raw -F qcow2 ../src.raw a)
	twin peer bitmap --clear a fine
	same_output -n "live again, $o" convert -n -S 0 -f raw -O qcow2 ../src.raw a
	alike a "live again, $o"
done
fresh a 5M
twin peer bitmap --add -g 512 a fine
same_output -n 'live, compressed' convert -n -c -f raw -O qcow2 ../src.raw a
alike a 'live, compressed'

# ---- other commands that write ------------------------------------------------------------------
done_to() { # NAME ARG...: a is changed in the same way
	local name=$1
	shift
	same_output -n "$name: $*" "$@"
	alike a "$name"
}
fresh a 5M
twin peer bitmap --add -g 512 a fine
twin peer bitmap --add -g 1M a coarse
twin peer bitmap --add --disable a still
write_both -c 'write 0 5M' a
twin peer bitmap --disable a fine
for size in 6M 300M $((300 * 1048576 + 512)); do done_to "grown to $size" resize a $size; done
for size in 301M 5242368 1M 512; do done_to "cut to $size" resize --shrink a $size; done
done_to 'grown again' resize --preallocation=metadata a 3M
in_use 1
done_to 'inconsistent' resize a 4M
done_to 'no other size' resize a 3M
fresh a 1M
twin peer snapshot -c snap a
twin peer bitmap --add --disable a b
done_to 'snapshot -a' snapshot -a snap a
done_to 'snapshot -d' snapshot -d snap a
fresh base 5M
rm -f ours/base peer/base
twin peer create -q -f qcow2 base 5M
twin peer bitmap --add -g 512 base below
twin peer create -q -f qcow2 -b base -F qcow2 a
twin peer bitmap --add -g 64k a top # we rebase whole clusters
write_both -c 'write 100k 10k' -c 'write -z 1M 64k' -c 'write 4M 1M' a
same_output commit a
alike base 'the base of a commit'
alike a 'what was committed'
twin peer create -q -f qcow2 onto 5M
write_both -c 'write 50k 100k' -c 'write 3M 64k' onto
write_both -c 'write 110k 10k' a
same_output rebase -b onto -F qcow2 a
alike a 'a rebase'

# ---- convert --bitmaps ---------------------------------------------------------------------------
copied() { # NAME ARG...: into out
	local name=$1
	shift
	rm -f ours/out peer/out
	same_output -f "$words" -n "$name" convert --bitmaps "$@"
	if [ "$rc" = 0 ]; then alike out "$name"; else nok -n "$name: no target" test -e ours/out; fi
}
fresh a 1M
for n in b0 b1 b2; do twin peer bitmap --add -g 4k a $n; done
twin peer bitmap --disable a b1
write_both -c 'write 100k 10k' -c 'write 900k 1' a
copied 'all' -O qcow2 a out
copied 'other clusters' -O qcow2 -o cluster_size=512 a out
copied 'compressed' -c -O qcow2 a out
for m in 1 4; do qimg convert -m $m --bitmaps -O qcow2 ours/a "m$m"; done
ok -n 'the same bytes for any -m' cmp m1 m4
same_output convert --bitmaps -O raw a out
rm -f ours/out peer/out
same_output convert --bitmaps -O qcow2 -o compat=0.10 a out
copied 'two sources' -O qcow2 a a out
copied 'not qcow2' -f raw -O qcow2 a out
copied 'an unknown format' -O foo a out
twin peer create -q -f qcow2 -o compat=0.10 v2 1M
copied 'version 2' -O qcow2 v2 out
twin peer create -q -f qcow2 none 1M
copied 'none at all' -O qcow2 none out
twin peer create -q -f qcow2 -b a -F qcow2 over
twin peer bitmap --add over top
copied 'of the top only' -B a -F qcow2 -O qcow2 over out
twin peer snapshot -c snap a
copied 'with a snapshot' -l snap -O qcow2 a out
for s in 1M 2M; do
	twin peer create -q -f qcow2 out $s
	same_output -n "-n into $s" convert --bitmaps -n -O qcow2 a out
	alike out "-n into $s"
done
same_output convert --bitmaps -n -O qcow2 a out
twin peer create -q -f qcow2 out 1M
twin peer bitmap --add out b2
same_output convert --bitmaps -n -O qcow2 a out
in_use 2
copied 'one is broken' -O qcow2 a out
copied 'which is skipped' --skip-broken-bitmaps -O qcow2 a out
in_use 0
in_use 1
copied 'all are broken' -O qcow2 a out
copied 'and skipped' --skip-broken-bitmaps -q -O qcow2 a out
same_output convert --skip-broken-bitmaps -O qcow2 a out
same_output measure -O qcow2 a
same_output measure --output=json -O qcow2 -o cluster_size=4k a
same_output measure -O qcow2 v2
same_output measure -O qcow2 none
same_output measure -O raw a
same_output measure -O qcow2 -o compat=0.10 a
done_testing
