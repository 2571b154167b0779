#!/bin/bash
# shellcheck disable=SC2119
# The command bitmap against the peer: in twin folders, with the same words and exit codes,
# and after it the same bitmaps with the same bits, as the peer reads them over NBD.
. "${0%/*}/../tap.sh"
. "$TOP/tests/interop/kit.sh"
. "$TOP/tests/interop/bitmaps.sh"
skip_unless qemu-img qemu-io qemu-nbd nbdinfo
peer_version

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
done_testing
