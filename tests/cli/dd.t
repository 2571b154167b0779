#!/bin/bash
# shellcheck disable=SC2002
# dd: what the peer does not have. Streams, osize=, -n, -l, and not emptying the input.
. "${0%/*}/../tap.sh"

seq 200000 | head -c 1000000 >in.raw
platter convert -q -O qcow2 in.raw in.qcow2
truncate -s 1000448 padded.raw
cp in.raw padded.raw
truncate -s 1000448 padded.raw

# streams out
platter dd -f raw if=in.raw >out
ok cmp out padded.raw
qimg dd -O raw if=in.qcow2 of=- >out
ok -n 'of=- as qemu-img, too' cmp out padded.raw
platter dd -f raw bs=1000 skip=2 count=5 if=in.raw | cmp - <(tail -c +2001 in.raw | head -c 3000)
is $? 0 'a part, to the byte'
platter dd osize=1500000 if=in.qcow2 | cmp - <(cat in.raw; head -c 500000 /dev/zero)
is $? 0 'zeros up to osize='
is "$(platter dd osize=10 if=in.qcow2)" "$(head -c 10 in.raw)" 'no more than osize='
platter dd if=in.raw | head -c 10 >/dev/null
exits 1 platter dd -O qcow2 if=in.raw
like "$err" 'can only be raw' 'no format but raw'
run sh -c '"$0" dd -f raw if=in.raw >/dev/full' "$PLATTER"
is $rc 1 'a full output'
like "$err" 'standard output: No space left' 'is said'

# streams in
stream() { cat in.raw | platter dd "$@"; }
ok stream -O qcow2 osize=1000000 of=out
ok platter compare -q -f raw -F qcow2 padded.raw out
ok stream -O raw osize=1M if=- of=out
is "$(stat -c %s out)" 1048576 'as large as osize='
ok cmp -n 1000000 out in.raw
ok stream -O raw osize=1000 bs=1000 skip=3 of=out
is "$(stat -c %s out)" 1024 'a part'
ok cmp -n 1000 -i 3000:0 in.raw out
ok stream -O raw osize=10000 bs=1000 skip=3 count=4 of=out
is "$(tr -d '\0' <out)" "$(tail -c +3001 in.raw | head -c 1000)" 'a part of a larger'
ok stream -O raw bs=1M skip=3 osize=1M of=out
like "$err" 'standard input: cannot skip' 'all of it is skipped'
exits 1 stream -O raw of=out
like "$err" 'osize=SIZE is needed' 'a pipe has no size'
ok -n 'a file has one' sh -c '"$0" dd -O qcow2 of=out <in.raw' "$PLATTER"
ok platter compare -q -f raw -F qcow2 padded.raw out
ok -n 'as qemu-img' sh -c 'cat in.raw | "$0" dd -O qcow2 osize=1000000 of=out' "$QIMG"
ok platter compare -q -f raw -F qcow2 padded.raw out
(cat in.raw; sleep 0.1; cat in.raw) | platter dd -O raw osize=2000000 of=out
ok cmp -n 2000000 out <(cat in.raw in.raw)
exits 1 stream -f qcow2 osize=1M of=out
exits 1 stream -l snap osize=1M of=out
exits 1 stream osize=1M
like "$err" 'Must specify both' 'not from one stream to the other'
exits 1 qimg dd if=in.raw
exits 1 qimg dd of=out
is "$err" 'qemu-img: Must specify both input and output files' 'as the peer'

# into what is there
head -c 2M /dev/zero | tr '\0' x >raw
cp raw want
dd if=in.raw of=want conv=notrunc status=none bs=1000 skip=10 count=20
ok platter dd -n -O raw bs=1000 skip=10 count=30 if=in.raw of=raw
ok -n '-n keeps what follows, to the byte' cmp raw want
platter convert -q -f raw -O qcow2 want old
cp old old2
head -c 100000 /dev/zero >zeros
dd if=zeros of=want conv=notrunc status=none
ok platter dd -n -O qcow2 -f raw bs=1 count=100000 if=zeros of=old
ok -n '-n: zeros replace what was there' platter compare -q -f raw -F qcow2 want old
ok -n '-n of a stream' sh -c 'cat zeros | "$0" dd -n -O qcow2 osize=100000 of=old2' "$PLATTER"
ok platter compare -q old old2
exits 0 platter check -q old
ok qimg dd -n -O raw osize=1000 if=in.raw of=raw
truncate -s 1000 small
exits 1 platter dd -n -O raw if=in.raw of=small
like "$err" 'smaller than input' 'no room'
is "$(stat -c %s small)" 1000 'and it does not grow'
exits 1 platter dd -n -O raw if=in.raw of=no-such-file
exits 1 platter dd -n if=in.raw
like "$err" 'of=OUTPUT' '-n to a stream'

# snapshots
platter create -q -f qcow2 disk 4M
platter bench -q -w --pattern=0x31 -c 16 -s 64k disk >/dev/null
platter convert -q -O raw disk then.raw
if platter snapshot -c one disk 2>/dev/null; then
	platter bench -q -w --pattern=0x32 -c 64 -s 64k disk >/dev/null
	ok platter dd -l one -O raw if=disk of=out
	ok -n 'a snapshot' cmp out then.raw
	ok platter dd -l snapshot.name=one -O qcow2 bs=64k skip=3 count=17 if=disk of=out
	platter dd if=out | cmp - <(tail -c +196609 then.raw | head -c 917504)
	is $? 0 'a part of it'
	exits 1 platter dd -l two -O raw if=disk of=out
fi

# the input is not emptied
cp in.raw copy.raw
exits 1 platter dd -O raw if=in.raw of=in.raw
like "$err" 'the output is the input' 'over itself'
exits 1 qimg dd -O raw if=in.raw of=./in.raw
ln -s in.raw link
exits 1 qimg dd -O raw if=in.raw of=link
ok cmp in.raw copy.raw
ok platter dd if=in.raw of=new.qcow2
like "$err" 'writing qcow2' "the name's extension tells the format"
platter create -q -f qcow2 sparse 1G
ok platter dd -O raw if=sparse of=out
is "$(stat -c %b out)" 0 'holes stay holes'
done_testing
