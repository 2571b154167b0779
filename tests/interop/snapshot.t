#!/bin/bash
# snapshot: the peer's output and messages, and both work on each other's images: what one
# takes, applies or deletes is sound to the other, and the same disks to reader.py.
. "${0%/*}/../tap.sh"
. "$TOP/tests/interop/kit.sh"
skip_unless qemu-img qemu-io python3
peer_version qemu-img

# ---- words -------------------------------------------------------------------------------------
# ours writes a few more blocks of tables
date='s/disk size: .*|"actual-size": [0-9]+/SIZE/; s/[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8}/DATE/; s/"date-n?sec": [0-9]+/DATE/'
twins
twin "$PEER" create -q -f qcow2 a 10M
twin truncate -s 1M raw
twin "$PEER" create -q -f qcow2 -o data_file=d ext 1M
twin "$PEER" create -q -f qcow2 -b a -F qcow2 over
twin "$PEER" create -q -f qcow2 -b gone -F qcow2 -u orphan 1M
twin "$PEER" create -q -f qcow2 -o refcount_bits=1 one 1M
twin qemu-io -c 'write 0 64k' one >/dev/null
long=$(printf 'x%.0s' {1..300})
same() { same_output -f "$date" "$@"; }
same snapshot
same snapshot a b
same snapshot a
same snapshot -l a
same snapshot -c one a
same snapshot -c one a
same snapshot -c 1 a
same snapshot -c '' a
same snapshot -c $'two\nlines' a
same snapshot -c 'ünï' a
same snapshot -c "$long" a
same snapshot -l a
same info a
same info --output=json a
same snapshot a
same snapshot -q -l a
same snapshot -U -l a
same snapshot --image-opts -l driver=qcow2,file.filename=a
same snapshot -a nope a
same snapshot -a 2 a
same snapshot -a one a
same snapshot -d nope a
same snapshot -d 2 a
same snapshot -d 1 a
same snapshot -d "$long" a
same snapshot -d one a
same snapshot -l a
same snapshot -c next a
same snapshot -l a
same snapshot -d '' a
same snapshot -d '' a
for o in '-l -c x' '-c x -d y' '-a x -a y' '-l -l' '-x' '-c'; do
	# shellcheck disable=SC2086
	same snapshot $o a
done
same snapshot -l nofile
same snapshot -c n nofile
same snapshot nofile
same snapshot -U -c x a
same snapshot --image-opts -l nonsense
for a in -l '-c x' '-d x' '-a x'; do
	# shellcheck disable=SC2086
	same snapshot $a ext
	# the peer opens it twice for -a, and warns twice
	# shellcheck disable=SC2086
	[ "$a" = '-a x' ] || same snapshot $a raw
done
same snapshot --image-opts -a x driver=raw,file.filename=raw
same snapshot -c x one
same snapshot -l one
same snapshot -c x over
same snapshot -l over
same snapshot -l orphan
twin "$PEER" bitmap --add over b0
same snapshot -c y over
same snapshot -a y over
same snapshot -d y over
for l in 1 next nope snapshot.id=1 snapshot.name=next snapshot.name=nope snapshot.id=1,snapshot.name=x \
	snapshot.foo=1 xsnapshot.name=1 snapshot.id= ''; do
	same convert -l "$l" -O raw a out
	same measure -l "$l" -O qcow2 a
done
same convert -l x raw out
same measure -l x raw
same convert -l 1 a a out
same convert -l 1 nofile out

# ---- the table's columns -----------------------------------------------------------------------
img vm 10M
for n in a b c d; do peer snapshot -c $n vm; done
python3 - vm <<'EOF'
import struct, sys
with open(sys.argv[1], 'r+b') as f:
    f.seek(60)
    n, at = struct.unpack('>IQ', f.read(12))
    values = [(1 << 30, 12345678901234, 7, 1700000000), (1536, 999999999, 1 << 40, 0),
              ((5 << 40) + 1, 360000 * 10**9, 2**64 - 1, 2**32 - 1), (1023, 1, 0, 2**31)]
    for state, clock, icount, date in values:
        f.seek(at)
        e = bytearray(f.read(40))
        extra, = struct.unpack('>I', e[36:40])
        ids = sum(struct.unpack('>HH', e[12:16]))
        e[16:20] = struct.pack('>I', date)
        e[24:32] = struct.pack('>Q', clock)
        f.seek(at)
        f.write(e + struct.pack('>Q', state))
        f.seek(at + 56)
        f.write(struct.pack('>Q', icount))
        at += (40 + extra + ids + 7) & ~7
EOF
cp vm ours/vm
cp vm peer/vm
same_output snapshot -l vm
same_output info vm
same_output info --output=json vm
twin "@QIMG@" snapshot -d b vm
same_output -n 'VM states after a deletion' snapshot -l vm
same_output -n 'with all numbers' -f "$date" info --output=json vm

# ---- both on one image -------------------------------------------------------------------------
sound() {
	ok -n "$1: sound to the peer" peer check disk
	ok -n "$1: sound to us" qimg check disk
	diff <(peer snapshot -l disk) <(qimg snapshot -l disk) >/dev/null || fail "$1: lists differ"
}

# keep NAME: what the disk is now, before it is taken as snapshot NAME
keep() { peer convert -f qcow2 -O raw disk "was_$1"; }

kept() {
	local s t
	for s in "${@:2}"; do
		same_disk -n "$1: snapshot $s" -l "$s" "was_$s" disk
		for t in "$QIMG" "$PEER"; do
			"$t" convert -l "snapshot.name=$s" -O raw disk out
			cmp -s out "was_$s" || fail "$1: snapshot $s as $t reads it"
		done
	done
}

# take A, write, take B, go back to A, drop B, with two tools in turn
story() {
	local one=$1 two=$2 name=$3
	shift 3
	rm -f disk
	img "$@" disk 40M
	io -c 'write -P 1 1M 3M' -c 'write -P 2 30M 100k' -c 'write -P 3 39m 1M' disk
	[ "$name" = ext ] || io -c 'write -c -P 4 10M 64k' -c 'write -c -P 5 10304k 64k' disk
	keep a
	ok "$one" snapshot -c a disk
	sound "$name, first"
	io -c 'write -P 6 2M 2M' -c 'discard 30M 64k' -c 'write -P 7 20M 200k' disk
	keep b
	ok "$two" snapshot -c b disk
	sound "$name, second"
	io -c 'write -P 8 3M 4M' -c 'write -z 1M 64k' disk
	keep c
	ok "$one" snapshot -c c disk
	kept "$name" a b c
	ok "$one" snapshot -a a disk
	sound "$name, back"
	same_disk -n "$name: back" was_a disk
	io -c 'write -P 9 0 10M' disk
	keep now
	kept "$name, written again" a b c
	ok "$two" snapshot -d a disk
	sound "$name, one less"
	same_disk -n "$name: one less" was_now disk
	kept "$name, one less" b c
	ok "$one" snapshot -d c disk
	ok "$two" snapshot -a b disk
	sound "$name, back again"
	same_disk -n "$name: back again" was_b disk
	kept "$name, back again" b
	ok "$one" snapshot -d b disk
	sound "$name, none"
	same_disk -n "$name: none" was_b disk
	io -c 'write -P 10 0 40M' disk
	sound "$name, all written"
}

for who in "$QIMG $PEER" "$PEER $QIMG"; do
	# shellcheck disable=SC2086
	{
		story $who plain
		story $who v2 -o compat=0.10
		story $who small -o cluster_size=512
		story $who byte -o cluster_size=4k,refcount_bits=8
		story $who ext -o extended_l2=on,cluster_size=128k
		story $who lazy -o lazy_refcounts=on,refcount_bits=32
	}
done

# ---- disks that change their size --------------------------------------------------------------
rm -f disk
img disk 10M
io -c 'write -P 1 0 10M' disk
keep small
ok qimg snapshot -c small disk
peer resize -q disk 5G
io -c 'write -P 2 4G 1M' disk
ok qimg snapshot -c large disk
for t in "$QIMG" "$PEER"; do
	ok "$t" snapshot -a small disk
	sound "a smaller disk by ${t##*/}"
	same_disk -n 'smaller again' was_small disk
	ok "$t" snapshot -a large disk
	sound "a larger disk by ${t##*/}"
	is "$(peer info --output=json disk | grep -c '"virtual-size": 5368709120')" 1 'larger again'
	ok -n 'its end' qemu-io -r -c 'read -P 2 4G 1M' disk
done
peer resize -q --shrink disk 5M
ok qimg snapshot -a small disk
same_disk -n 'larger than before' was_small disk
sound 'larger'

# ---- counts that run over ----------------------------------------------------------------------
rm -f disk
img -o refcount_bits=2 disk 10M
io -c 'write -P 1 0 5M' disk
for n in a b; do
	keep $n
	ok qimg snapshot -c $n disk
done
sound 'three references'
cp disk before
exits 1 qimg snapshot -c c disk
is "$err" "qemu-img: Could not create snapshot 'c': -22 (Invalid argument)" 'the peer says it so'
sound 'nothing leaked'
kept 'nothing lost' a b
same_disk -n 'nothing changed' was_a disk

# ---- space comes back --------------------------------------------------------------------------
rm -f disk
img disk 100M
io -c 'write 0 50M' disk
qimg snapshot -c a disk
io -c 'write 0 50M' disk
before=$(stat -c %b disk)
ok qimg snapshot -d a disk
[ "$(stat -c %b disk)" -lt $((before * 6 / 10)) ]
is $? 0 'what only the snapshot had goes back to the file system'

done_testing
