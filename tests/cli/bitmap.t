#!/bin/bash
# bitmap: what needs no peer.
. "${0%/*}/../tap.sh"

ok platter create -q -f qcow2 disk.qcow2 1G
exits 1 platter bitmap disk.qcow2 one
like "$err" '^platter: Need at least one of --add' 'no action'
exits 1 platter bitmap --add disk.qcow2
like "$err" 'Expecting filename and bitmap name' 'no name'
ok platter bitmap --add disk.qcow2 one
ok platter bitmap --add --disable -g 4k disk.qcow2 two
is "$out$err" '' 'nothing is said'
ok platter info --output=json disk.qcow2
is "$(grep -c '"granularity"' .out)" 2 'two bitmaps'
before=$(cksum <disk.qcow2)
exits 1 platter bitmap --add disk.qcow2 one
like "$err" 'Operation add on bitmap one failed: Bitmap already exists: one' 'twice'
is "$(cksum <disk.qcow2)" "$before" 'the image is as it was'
ok platter check -q disk.qcow2

# written, grown, converted: they go along
head -c 3M /dev/urandom >data
truncate -s 1G data
ok platter convert -n -f raw -O qcow2 data disk.qcow2
ok platter check -q disk.qcow2
ok platter bitmap --merge one disk.qcow2 two
ok platter resize -q disk.qcow2 2G
ok platter check -q disk.qcow2
ok platter convert --bitmaps -O qcow2 disk.qcow2 copy.qcow2
for f in disk copy; do
	platter info --output=json $f.qcow2 | grep -A 12 '"bitmaps"' >$f.bitmaps
done
ok cmp disk.bitmaps copy.bitmaps

# where there can be none
ok platter create -q -f qcow2 empty.qcow2 0
exits 1 platter bitmap --add empty.qcow2 b
like "$err" 'size 0' 'a disk without bytes'
ok platter check -q empty.qcow2
exits 1 platter bitmap --add -f raw data b
like "$err" "Can't store persistent bitmaps" 'raw'
chmod a-w disk.qcow2
if [ "$(id -u)" != 0 ]; then
	exits 1 platter bitmap --clear disk.qcow2 one
	like "$err" 'Permission denied' 'a file that cannot be written'
fi

# what is not to be trusted is said, once, with a newline
chmod u+w disk.qcow2
printf '\0' | dd of=disk.qcow2 bs=1 seek=95 conv=notrunc status=none
ok platter info disk.qcow2
is "$(wc -l <.err)" 2 'the warning has two lines'
like "$err" '^platter: warning: a program lacking bitmap support' 'and its words'
ok platter bitmap --add disk.qcow2 new
ok platter info disk.qcow2
is "$err" '' 'a new one is trusted'

# tables that claim more than there is
ok platter create -q -f qcow2 -o cluster_size=512 many.qcow2 64G
ok platter bitmap --add -g 512 many.qcow2 b
ok -n 'a thousand bitmaps in one place' python3 "$TOP/tests/interop/damage.py" many.qcow2 \
	'h = q.r(q.bitmaps()[0], 18) + struct.pack(">HI", 8, 0)' \
	'd = b"".join(h + b"%08d" % i for i in range(1000))' \
	'q.w(8 << 20, d)' 'e = q.ext(0x23852875)' 'q.w32(e, 1000)' \
	'q.w64(e + 8, len(d))' 'q.w64(e + 16, 8 << 20)'
(
	[ -n "$SANITIZED" ] || ulimit -v 200000
	exits 1 platter info many.qcow2
	like "$err" 'overlap' 'tables in one place'
)
done_testing
