#!/bin/bash
# shellcheck disable=SC2086,SC2054
# convert, both ways with the peer: the same words, and the same disks.
. "${0%/*}/../tap.sh"
skip_unless qemu-img qemu-io
peer_version qemu-img

mkdir "$T/src"
cd "$T/src" || exit 1
S=$T/src

img() { peer create -q -f qcow2 "$@" || fail "create $*"; }
io() { qemu-io "$@" >/dev/null || fail "qemu-io $*"; }

# ---- sources -------------------------------------------------------------------------
head -c 3M /dev/urandom >random
truncate -s 5M random
head -c 8M /dev/zero >zeros
head -c 512 /dev/urandom >sector
: >empty
printf x >byte
head -c 1500000 /dev/urandom >odd
truncate -s $((2 ** 40 + 511)) terabyte
printf xyz | dd of=terabyte bs=1 seek=$((2 ** 39 + 12345)) conv=notrunc status=none
printf end | dd of=terabyte bs=1 seek=$((2 ** 40 + 508)) conv=notrunc status=none
{
	for i in $(seq 4000); do echo "line $i of a text that can be compressed"; done
	head -c 1M /dev/zero
	head -c 200k /dev/urandom
} >text
truncate -s 6M text
if command -v mkfs.ext4 >/dev/null; then
	mkdir tree
	cp -r "$TOP/tests" tree/
	mkfs.ext4 -q -d tree files 16M || fail 'mkfs.ext4'
else
	cp text files
fi
raws=(random zeros sector empty byte odd text files)

# compares what the peer reads in both; images may be as long as their last sector
alike() {
	peer compare "$@" >"$T/.cmp" 2>&1 || { cat "$T/.cmp"; return 1; }
	grep -q 'size mismatch' "$T/.cmp" && { cat "$T/.cmp"; return 1; }
	return 0
}

top_runs() { # IMAGE: what its own layer has
	peer map --output=json "$1" | tr -d '[]{},' | awk '{ d = $6 == 0
		if (d && at != $2) printf "%s-", $2
		if (!d && was) print at
		was = d; if (d) at = $2 + $4 } END { if (was) print at }'
}

sound() { # IMAGE: qcow2 without errors or leaks
	peer check -q "$1"
}

# ---- raw and qcow2, to and fro ---------------------------------------------------------
for i in "${raws[@]}" terabyte; do
	ok -n "$i -> raw" qimg convert -f raw -O raw $i $T/out.raw
	ok alike -f raw -F raw $i $T/out.raw
	ok -n "$i -> qcow2" qimg convert -f raw -O qcow2 $i $T/out.qcow2
	ok sound $T/out.qcow2
	ok alike -f raw -F qcow2 $i $T/out.qcow2
	rm -f $T/out.raw
	ok -n "$i -> qcow2 -> raw" qimg convert -f qcow2 -O raw $T/out.qcow2 $T/out.raw
	ok alike -f raw -F raw $i $T/out.raw
	rm -f $T/out.raw $T/out.qcow2
done
for i in random sector empty odd text files; do
	for c in zlib $ZSTD; do
		ok -n "$i -> qcow2 -c $c" qimg convert -c -f raw -O qcow2 \
			-o compression_type=$c $i $T/out.qcow2
		ok sound $T/out.qcow2
		ok alike -f raw -F qcow2 $i $T/out.qcow2
		ok -n "$i: compressed -> raw" qimg convert $T/out.qcow2 $T/out.raw
		ok alike -f raw -F raw $i $T/out.raw
		rm -f $T/out.raw $T/out.qcow2
	done
	peer convert -c -f raw -O qcow2 $i $T/in.qcow2
	ok -n "$i: the peer's compressed -> raw" qimg convert -O raw $T/in.qcow2 $T/out.raw
	ok alike -f raw -F raw $i $T/out.raw
	ok -n "$i: compressed -> compressed" qimg convert -c -O qcow2 $T/in.qcow2 $T/out.qcow2
	ok sound $T/out.qcow2
	ok alike -f raw -F qcow2 $i $T/out.qcow2
	ok -n "$i: compressed -> zstd" qimg convert -c -O qcow2 -o compression_type=$ZSTD \
		$T/in.qcow2 $T/out.qcow2
	ok sound $T/out.qcow2
	ok alike -f raw -F qcow2 $i $T/out.qcow2
	rm -f $T/out.* $T/in.*
done

# ---- shapes of qcow2 -------------------------------------------------------------------
shapes=()
for cl in 512 1k 4k 32k 64k 512k 2M; do
	shapes+=("cluster_size=$cl" "cluster_size=$cl,compat=0.10")
done
shapes+=(extended_l2=on,cluster_size=16k extended_l2=on,cluster_size=128k
	extended_l2=on,cluster_size=2M refcount_bits=1 refcount_bits=2 refcount_bits=8
	refcount_bits=32,cluster_size=512 refcount_bits=64 lazy_refcounts=on
	preallocation=metadata preallocation=falloc preallocation=full
	preallocation=metadata,extended_l2=on preallocation=off)
for o in "${shapes[@]}"; do
	ok -n "files -> qcow2 $o" qimg convert -f raw -O qcow2 -o $o files $T/out.qcow2
	ok sound $T/out.qcow2
	ok alike -f raw -F qcow2 files $T/out.qcow2
	peer convert -f raw -O qcow2 -o $o files $T/in.qcow2
	ok -n "the peer's $o -> raw" qimg convert -O raw $T/in.qcow2 $T/out.raw
	ok alike -f raw -F raw files $T/out.raw
	rm -f $T/out.raw
	case $o in *prealloc*) continue ;; esac
	ok -n "text -> qcow2 -c $o" qimg convert -c -f raw -O qcow2 -o $o text $T/out.qcow2
	ok sound $T/out.qcow2
	ok alike -f raw -F qcow2 text $T/out.qcow2
	rm -f $T/out.* $T/in.*
done
for o in data_file=$T/ext data_file=$T/ext,data_file_raw=on \
	data_file=$T/ext,preallocation=metadata; do
	ok -n "files -> $o" qimg convert -f raw -O qcow2 -o $o files $T/out.qcow2
	ok sound $T/out.qcow2
	ok alike -f raw -F qcow2 files $T/out.qcow2
	[[ $o != *_raw=* ]] || ok cmp files $T/ext
	ok -n "$o -> raw" qimg convert $T/out.qcow2 $T/out.raw
	ok cmp files $T/out.raw
	rm -f $T/out.* $T/ext
done

# ---- chains ----------------------------------------------------------------------------
peer convert -f raw -O qcow2 files l0
prev=l0
for n in 1 2 3 4 5 6 7 8; do
	img -b $prev -F qcow2 l$n $((16 + n))M
	io -c "write -P $n $((n * 300))k 200k" -c "write -z $((n * 500))k 64k" l$n
	prev=l$n
done
for n in 1 2 8; do
	ok -n "chain of $n -> raw" qimg convert -O raw l$n $T/out.raw
	ok alike -F raw l$n $T/out.raw
	ok -n "chain of $n -> qcow2" qimg convert -O qcow2 l$n $T/out.qcow2
	ok sound $T/out.qcow2
	ok alike l$n $T/out.qcow2
	ok -n "chain of $n -> overlay" qimg convert -O qcow2 -B $S/l$((n - 1)) -F qcow2 l$n \
		$T/out.qcow2
	ok sound $T/out.qcow2
	ok alike l$n $T/out.qcow2
	is "$(top_runs $T/out.qcow2)" "$(top_runs l$n)" 'the same clusters in the top layer'
	ok -n "chain of $n -> compressed overlay" qimg convert -c -O qcow2 \
		-o backing_file=$S/l$((n - 1)),backing_fmt=qcow2 l$n $T/out.qcow2
	ok sound $T/out.qcow2
	ok alike l$n $T/out.qcow2
	rm -f $T/out.*
done

# ---- several sources ---------------------------------------------------------------------
peer convert -f raw -O qcow2 text text.qcow2
for f in raw qcow2; do
	ok -n "odd + text + sector -> $f" qimg convert -O $f odd text.qcow2 sector $T/out
	peer convert -O $f odd text.qcow2 sector $T/want
	ok alike -f $f -F $f $T/out $T/want
	rm -f $T/out $T/want
done

# ---- targets that are there ----------------------------------------------------------------
fill() { rm -f "$1" && head -c "$2" /dev/urandom >"$1"; }
fill $T/out 5M
ok -n '-n: zeros are written over what was there' qimg convert -n -f raw -O raw random $T/out
ok cmp random $T/out
fill $T/out 5M
ok -n '-n -S 0' qimg convert -n -S 0 -f raw -O raw random $T/out
ok cmp random $T/out
rm -f $T/out && truncate -s 5M $T/out
ok -n '-n --target-is-zero' qimg convert -n --target-is-zero -f raw -O raw random $T/out
ok cmp random $T/out
rm -f $T/out
for o in '' -c '-S 0' '-S 64k' '-m 1' '-W -m 4' '-t writeback' '-t none -T none' '-t directsync'; do
	img $T/out 5M
	io -c 'write -P 9 0 5M' $T/out
	ok -n "-n $o over a full qcow2" qimg convert -n $o -f raw -O qcow2 random $T/out
	ok sound $T/out
	ok alike -f raw -F qcow2 random $T/out
	rm -f $T/out
done
img $T/out 7M
io -c 'write -P 9 0 7M' $T/out
ok -n '-n into a longer qcow2' qimg convert -n -f raw -O qcow2 random $T/out
is "$(qemu-io -r -c 'read -P 9 5M 2M' $T/out | grep -c 'verification failed')" 0 \
	'what is behind the sources is left alone'
rm -f $T/out
img -b $S/l0 -F qcow2 $T/out
ok -n '-n over an overlay: the backing file does not show' qimg convert -n -f raw -O qcow2 \
	zeros $T/out
ok sound $T/out
is "$(qemu-io -r -c 'read -P 0 0 8M' $T/out | grep -c 'verification failed')" 0 'all zeros'
rm -f $T/out
img -b $S/l0 -F qcow2 $T/out
nok -n '--target-is-zero with a backing file' qimg convert -n --target-is-zero -f raw \
	-O qcow2 zeros $T/out
peer create -q -f qcow2 -b $S/l0 -F qcow2 $T/out2 17M
ok -n '-n -B: the top layer only' qimg convert -n -B $S/l0 -F qcow2 -O qcow2 l1 $T/out2
ok alike l1 $T/out2
is "$(top_runs $T/out2)" "$(top_runs l1)" 'the same clusters in the top layer'
rm -f $T/out2
ok -n '--target-image-opts' qimg convert -n --target-image-opts -f raw zeros \
	driver=qcow2,file.driver=file,file.filename=$T/out
rm -f $T/out

# ---- options of the copy ------------------------------------------------------------------
for o in '-S 0' '-S 512' '-S 64k' '-S 16M' '-m 1' '-m 16' '-W' '-C' '-t none' '-T none' \
	'-t writethrough' '-t directsync -T directsync' '-t unsafe -T unsafe' '-U' '-r 1G' \
	'--salvage' '-p' '-q'; do
	for f in raw qcow2; do
		ok -n "convert $o -O $f" qimg convert $o -f raw -O $f files $T/out
		ok alike -f raw -F $f files $T/out
		[ $f = raw ] || ok sound $T/out
		rm -f $T/out
	done
done
# as sparse as the peer's
for i in random zeros text; do
	for o in '' '-S 0' '-S 64k'; do
		qimg convert $o -f raw -O raw $i $T/out && peer convert $o -f raw -O raw $i $T/want
		ok -n "disk usage: $i $o" test "$(du -k $T/out | cut -f1)" \
			-le "$(du -k $T/want | cut -f1)"
		rm -f $T/out $T/want
	done
done

# ---- words ---------------------------------------------------------------------------------
# What both say, where it matters in folders of their own.
cd "$T" || exit 1
twins
for d in ours peer; do
	ln -s $S/odd $d/a
	(cd $d && peer convert -f raw -O qcow2 a q && peer create -q -f qcow2 -b q -F qcow2 ov &&
		qemu-io -c 'write 64k 64k' ov >/dev/null)
done
same() { same_output convert "$@"; }
gone() { # the same words, and ours leaves nothing
	same "$@"
	nok -n "nothing is left of: $*" test -e ours/out
	is "$(find ours -name '.*' -type f)" '' 'nor a hidden file'
	rm -f ours/out ours/out.d peer/out peer/out.d
}
good() {
	local d
	same "$@"
	for d in ours peer; do
		(cd $d && peer info out | grep -v 'disk size' >../info.$d &&
			peer convert -O raw out ../raw.$d)
	done
	ok -n "same disk: $*" cmp raw.ours raw.peer
	is "$(cat info.ours)" "$(cat info.peer)" "same info: $*"
	rm -f raw.* ours/out ours/out.d peer/out peer/out.d
}
gone
gone a
gone a a
gone -O qcow2 a a
gone nofile out
gone -f xx a out
gone -O xx a out
gone -f qcow2 a out
gone -c a out
gone -c -O raw a out
gone -n a out
gone -n -O qcow2 a out
gone -n -B x a out
gone -n -o size=1G a out
gone --target-is-zero a out
gone --target-image-opts a out
gone -n --target-is-zero -O qcow2 -o x=y a out
for bad in x 1 1000 4G -1 3G ''; do gone -S "$bad" a out; done
for bad in 0 17 x -1; do gone -m $bad a out; done
for bad in x -1; do gone -r $bad a out; done
gone -C -c -O qcow2 a out
gone -C -S 4k a out
gone -C --salvage a out
gone -T xx a out
gone -o x=y a out
gone -O qcow2 -o x=y a out
gone -O qcow2 -o cluster_size=1000 a out
gone -O qcow2 -o cluster_size=x a out
gone -O qcow2 -o lazy_refcounts=x a out
gone -O qcow2 -o refcount_bits=3 a out
gone -O qcow2 -o compat=9 a out
gone -O qcow2 -o '' a out
gone -O qcow2 -o a a out
gone -O qcow2 -o preallocation=zzz a out
gone -o preallocation=metadata a out
gone -c -O qcow2 -o preallocation=full a out
gone -O qcow2 -o compat=0.10,compression_type=zstd a out
gone -O qcow2 -c -o compression_type=foo a out
gone -B q -O qcow2 ov out
gone -B nix -F qcow2 -O qcow2 ov out
gone -B q -F qcow2 -O raw ov out
gone -F qcow2 -O qcow2 ov out
gone -F raw -O raw a out
gone -o backing_file=q -O qcow2 ov out
gone -o backing_file=q,backing_fmt=qcow2 -O raw ov out
gone -B q -F xx -O qcow2 ov out
gone -B q -F qcow2 -O qcow2 a ov out
gone -O qcow2 -o data_file=out.d,data_file_raw=on -B q -F qcow2 ov out
gone --skip-broken-bitmaps -O qcow2 q out
gone --image-opts -f raw a out
gone a nodir/out
gone a ''
gone '' out
gone a json:{}
gone a null-co://
gone --foo a out
gone -z a out
same -o help a out
same -o help
same -O qcow2 -o help
same -O qcow2 -o '?' a out
good a out
good a q out
good a q -O qcow2 out
good -O qcow2 a out
good -O qcow2 -o size=3M a out
good -O qcow2 -o cluster_size=512k -o cluster_size=4k a out
good -O qcow2 -c -o compression_type=$ZSTD a out
good -O qcow2 -o data_file=out.d a out
good -B q -F qcow2 -O qcow2 ov out
good -B q -F raw -O qcow2 ov out
good -W -c -O qcow2 a out
good -U --salvage -q -p a -O qcow2 out
good --image-opts driver=raw,file.filename=a out
good a file:out
for size in 1M 1500000 1500160 2M; do
	for o in '-O raw' '-O raw -S 0' '-O raw --target-is-zero' '-O qcow2' '-c -O raw'; do
		truncate -s $size ours/out peer/out
		same -n $o a out
		ok cmp ours/out peer/out
	done
done

done_testing
