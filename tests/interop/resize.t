#!/bin/bash
# resize beside the peer: the same words and exit codes, and images that are the same to the
# peer afterwards. Where the peer would show what a disk had behind an old end, ours does not.
. "${0%/*}/../tap.sh"
. "$TOP/tests/interop/kit.sh"
skip_unless qemu-img qemu-io
peer_version "$PEER"

fresh() {
	twins
	twin truncate -s 2M base
	twin qemu-io -f raw -c 'write -P 9 0 2M' base >/dev/null
	twin "$PEER" create -q -f qcow2 disk "$@"
}

io_both() { twin qemu-io "$@" disk >/dev/null; }

huge='' # too large to look at every byte
# alike NAME: the image is sound, and to the peer as its own is
alike() {
	local a b f='/Image end/d; s/, [0-9.]+% fragmented//'
	ok -n "$1: sound" env -C ours "$PEER" check -q disk
	a=$(cd ours && "$PEER" info --output=json disk | grep -v -e actual-size -e date-)
	b=$(cd peer && "$PEER" info --output=json disk | grep -v -e actual-size -e date-)
	is "$a" "$b" "$1: the same info"
	a=$(cd ours && "$PEER" check disk | sed -E "$f")
	b=$(cd peer && "$PEER" check disk | sed -E "$f")
	is "$a" "$b" "$1: the same check"
	[ -z "$huge" ] || return
	(cd peer && "$PEER" convert -O raw disk ../want.raw)
	same_disk -n "$1" want.raw ours/disk
}

resized() {
	same_output resize "$@"
	alike "resize $*"
}

# ---- what is asked wrongly ---------------------------------------------------------------
fresh 1M
for a in '' disk 'disk +' 'disk -' 'disk ++1M' 'disk +-1M' 'disk 1M 2M' '2M disk' \
	'disk x' 'disk +x' 'disk 0' '--shrink disk 0' 'disk 513' 'disk +513' 'disk -1M' \
	'disk -- -1M' '-- disk -1M' 'disk -512k' 'disk -q 512k' 'disk 3M -q' 'disk -f qcow2 512k' \
	'disk 7E' 'disk 99999999999999999999' 'disk 1.5k' '--preallocation=foo disk 2M' \
	'--preallocation= disk 2M' '--preallocation=off disk 512k' \
	'--preallocation=metadata disk 512k' '--preallocation=full --shrink disk 512k' \
	'--preallocation=full disk 1M' '--nope disk 1M' 'nothere 1M' '-U disk 1M' '-f nope disk 1M' \
	'-p disk 1M' '-f qcow2 -1M' '-f qcow2 disk -5000G' '--shrink -f qcow2 disk -5000G' \
	'--image-opts -f qcow2 driver=qcow2,file.filename=disk 9M' 'disk 1M' 'json:{} 1M' \
	'--shrink disk -1' '--shrink disk 1000' '/dev/null 1M' 'null-co:// 2M' \
	'--image-opts driver=raw,size=1M,file.filename=base 2M' \
	'--image-opts driver=null-co,size=1M 2M'; do
	# shellcheck disable=SC2086
	same_output resize $a
done
same_output resize disk ''
same_output resize '' 1M
alike 'all of that'

# ---- raw ----------------------------------------------------------------------------------
for a in 'base 3M' '-q base 4M' '-f raw base 5M' '-f raw base +513' '-f raw base +1' \
	'-f raw --shrink base 1000' '-f raw base 1000' '-f raw base 1024' \
	'-f raw --preallocation=falloc base 2M' '-f raw --preallocation=full base 3M' \
	'-f raw --preallocation=metadata base 4M' '-f raw base 7E' '-f raw --shrink base -1M' \
	'-f raw --shrink base 513' '-f raw base 3T' '-f raw --shrink base 2M'; do
	# shellcheck disable=SC2086
	same_output resize $a
	is "$(stat -c %s ours/base)" "$(stat -c %s peer/base)" "resize $a: the same size"
done
ok -n 'the same bytes' cmp ours/base peer/base

# ---- qcow2, larger ------------------------------------------------------------------------
for o in '' -ocompat=0.10 -ocluster_size=512 -ocluster_size=1M -oextended_l2=on \
	-orefcount_bits=1 -olazy_refcounts=on -opreallocation=metadata; do
	# shellcheck disable=SC2086
	fresh $o 1000448
	io_both -c 'write -P 5 900k 50k' -c 'write -P 6 10k 100k'
	resized disk 3M
	resized -f qcow2 disk +512
	resized disk --preallocation=off 50M
	io_both -c 'write -P 7 40M 100k'
	resized --shrink disk 3M
	for p in metadata falloc full; do
		same_output resize --preallocation=$p disk +3M
		ok -n "$o, $p: sound" env -C ours "$PEER" check -q disk
		(cd peer && "$PEER" convert -O raw disk ../want.raw)
		same_disk -n "$o, $p" want.raw ours/disk
	done
done
huge=yes
fresh -o cluster_size=512 1M
resized disk 64G
same_output resize disk 129G
same_output resize disk 3T
fresh 1M
resized disk 10T
io_both -c 'write -P 3 9T 64k' -c 'read -P 3 9T 64k'
alike 'with 10 TiB'
huge=''

# over a backing file that is longer
fresh -b base -F raw 1000448
io_both -c 'write -P 5 900k 50k'
resized disk 1500k
same_output resize disk 3M
ok -n 'backed: sound' env -C ours "$PEER" check -q disk
(cd peer && "$PEER" convert -O raw disk ../want.raw)
same_disk -n 'backed' want.raw ours/disk
huge=''
fresh -b base -F raw 1M
for p in off metadata falloc full; do
	same_output resize --preallocation=$p disk +512k
	ok -n "backed, $p: sound" env -C ours "$PEER" check -q disk
	(cd peer && "$PEER" convert -O raw disk ../want.raw)
	same_disk -n "backed, $p" want.raw ours/disk
done
fresh -o extended_l2=on -b base -F raw 1000448
same_output resize disk 3M
ok -n 'backed, subclusters: sound' env -C ours "$PEER" check -q disk
(cd peer && "$PEER" convert -O raw disk ../want.raw)
same_disk -n 'backed, subclusters' want.raw ours/disk
fresh -o compat=0.10 -b base -F raw 2M
resized disk 3M

# ---- qcow2, smaller -----------------------------------------------------------------------
for o in '' -ocompat=0.10 -ocluster_size=512 -oextended_l2=on -orefcount_bits=64 \
	-olazy_refcounts=on; do
	# shellcheck disable=SC2086
	fresh $o 8M
	io_both -c 'write -P 5 0 3M' -c 'write -P 6 6M 2M' -c 'write -z 4M 1M'
	resized --shrink disk 7M
	resized disk --shrink 2M
	ok -n "${o:-plain}: the file is no longer than the peer's" \
		[ "$(stat -c %s ours/disk)" -le "$(stat -c %s peer/disk)" ]
	resized --shrink disk -1M
	resized disk 5M
	resized --shrink disk 512
done
seq 1 300000 >text
twins
twin "$PEER" convert -c -f raw -O qcow2 ../text disk
resized --shrink disk 1M
resized disk 2M
fresh 1M
io_both -c 'write -P 5 0 1M'
twin "$PEER" snapshot -c one disk
(cd ours && "$PEER" convert -l one -O raw disk ../one.raw)
resized --shrink disk 512k
resized disk 2M
io_both -c 'write -P 6 0 100k'
same_disk -n 'a snapshot is what it was' -l one one.raw ours/disk
fresh -o compat=0.10 1M
twin "$PEER" snapshot -c one disk
for s in 2M 1M '--shrink 512k'; do
	# shellcheck disable=SC2086
	same_output resize disk $s
done

# what was behind an end does not come back
fresh 1M
io_both -c 'write -P 5 0 1M'
ok qimg resize -q --shrink ours/disk 524800
ok qimg resize -q ours/disk 1M
exits 0 qemu-io -c 'read -P 0 524800 523776' -c 'read -P 5 0 524800' ours/disk
unlike "$out" 'fail|Pattern' 'zeros behind the old end'
fresh -o extended_l2=on 1M
io_both -c 'write -P 5 0 1M'
ok "$PEER" resize -q --shrink ours/disk 524800
ok qimg resize -q ours/disk 1M
exits 0 qemu-io -c 'read -P 0 524800 523776' -c 'read -P 5 0 524800' ours/disk
unlike "$out" 'fail|Pattern' 'zeros also behind the end that the peer made'

# ---- bitmaps, data files --------------------------------------------------------------------
fresh 1M
twin "$PEER" bitmap --add disk on
twin "$PEER" bitmap --add --disable disk off
io_both -c 'write -P 5 0 100k'
resized disk 2M
resized --shrink disk 512k
huge=yes
resized disk 3G
huge=''
fresh -o data_file=d 1M
io_both -c 'write -P 5 0 1M'
for s in 2M '--shrink 524800' '--preallocation=metadata 4M' '--preallocation=falloc 6M' \
	'--shrink 3M'; do
	# shellcheck disable=SC2086
	resized disk $s
	is "$(stat -c %s ours/d)" "$(stat -c %s peer/d)" "data file, $s: as long"
done
twin truncate -s 5M d
resized disk 4M
is "$(stat -c %s ours/d)" "$(stat -c %s peer/d)" 'a data file that was longer'
fresh -o data_file=d,data_file_raw=on 1M
for s in 2M '--shrink 512k'; do
	# shellcheck disable=SC2086
	resized disk $s
	is "$(stat -c %s ours/d)" "$(stat -c %s peer/d)" "raw data file, $s: as long"
done
# version 2 over a longer backing file: only where data is preallocated
cd "$T" || exit 1
head -c 3000320 /dev/urandom >below
for p in off metadata falloc full; do
	for tool in qimg peer; do
		img -o compat=0.10,cluster_size=4k -b "$T/below" -F raw "$T/v2.$tool" 1049088
		(cd "$T" && $tool resize -q --preallocation=$p "$T/v2.$tool" 2M) >/dev/null 2>&1
		echo $? >"code.$tool"
	done
	is "$(<code.qimg)" "$(<code.peer)" "version 2, preallocation=$p: exit code"
	ok -n "version 2, preallocation=$p: the disk" qemu-img compare -q v2.qimg v2.peer
done
done_testing
