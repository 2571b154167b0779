#!/bin/bash
# parallels beside the peer: new images, both ways, damage, what each writes into the other's;
# the format extension; disks in a folder, which the peer cannot read.
. "${0%/*}/../tap.sh"
. "$TOP/tests/interop/kit.sh"
skip_unless qemu-img qemu-io python3
peer_version qemu-img

export FMT=parallels
one_folder
mk() { python3 "$TOP/tests/interop/mkparallels.py" "$@"; }
read_disk() { python3 "$TOP/tests/interop/read_parallels.py" "$@"; }

# ---- new images: the same bytes -------------------------------------------------------------
for o in '' cluster_size=512 cluster_size=1 cluster_size=64k cluster_size=1000 cluster_size=63k \
	cluster_size=3M; do
	for s in 0 1 511 513 1M 1048577 100M 2300G; do
		case $o,$s in cluster_size=512,2300G | cluster_size=1*,2300G | cluster_size=6*,2300G) continue ;; esac
		rm -f ours/w ours/r
		qimg create -q -f parallels ${o:+-o "$o"} ours/w $s
		peer create -q -f parallels ${o:+-o "$o"} ours/r $s
		ok -n "the same file: create '$o' $s" cmp ours/w ours/r
	done
done
for a in '-o help' 'x 5M' '-o cluster_size=64k x 5M' '-o cluster_size=0 x 5M' '-o cluster_size=4G x 5M' \
	'-o cluster_size=2G x 5M' '-o cluster_size=512 x 3T' '-o cluster_size=512 x 2T' 'x 4096T' \
	'-o cluster_size=0 x 0' '-o cluster_size=-1 x 5M' '-o cluster_size=y x 5M' '-b r -F raw x 5M' \
	'-o preallocation=falloc x 5M' '-o preallocation=full x 5M' '-o preallocation=metadata x 5M' \
	'-o preallocation=no x 5M' 'x'; do
	# shellcheck disable=SC2086
	same_output -n "create $a" create -f parallels $a
done
rm -f ours/x
nok -n 'what the peer makes and cannot open is not made' qimg create -f parallels ours/x 2047T
nok -n 'nor with such clusters' qimg create -f parallels -o cluster_size=2147483136 ours/x 0

# ---- both ways --------------------------------------------------------------------------
other_reader() {
	[ "$(stat -c %s "$2")" -lt 1000000000 ] || return
	ok -n "$1: as read_parallels.py reads it" read_disk --same "$2" "$3"
}
: >ours/empty
printf x >ours/one
head -c 512 /dev/urandom >ours/sector
noise ours/mixed 30001000
truncate -s 20M ours/zero
head -c 3M /dev/urandom >ours/dense
for d in empty one sector mixed zero dense; do
	both_ways "$d" $d
	both_ways "$d, clusters of 64k" $d -o cluster_size=64k
done
both_ways 'clusters of 63 sectors' mixed -o cluster_size=32256
both_ways 'clusters of 512' dense -o cluster_size=512
# there the peer's own map fails an assertion: it may check, and read one place
truncate -s 2200G ours/far
head -c 512 /dev/zero | tr '\0' x | dd of=ours/far bs=512 seek=4492187500 conv=notrunc status=none
ok -n 'beyond 2 TiB' qimg convert -f raw -O parallels ours/far ours/w
ok -n 'sound' peer_checks ours/w
ok -n 'sound to us' qimg check -q ours/w
ok -n 'the same to us' qimg compare -q -f raw -F parallels ours/far ours/w
ok -n 'the peer reads it' qemu-io -r -f parallels -c 'read -P 120 2300000000000 512' ours/w
unlike "$out" 'verification failed' 'the same'
rm ours/far

# ---- into what is there -----------------------------------------------------------------
io_both() { # NAME CREATE IO...: the same writes, by the peer, into an image of ours and its own
	local name=$1 o=$2 c args=()
	shift 2
	for c; do args+=(-c "$c"); done
	rm -f ours/w ours/r
	qimg convert -O parallels ${o:+-o "$o"} ours/mixed ours/w
	peer convert -O parallels ${o:+-o "$o"} ours/mixed ours/r
	io -f parallels "${args[@]}" ours/w
	io -f parallels "${args[@]}" ours/r
	ok -n "$name: sound" peer_checks ours/w
	ok -n "$name: the same" peer compare -q -f parallels -F parallels ours/w ours/r
	ok -n "$name: sound to us" qimg check -q -f parallels ours/w
	ok -n "$name: the same to us" qimg compare -q -f parallels -F parallels ours/w ours/r
}
for o in '' cluster_size=64k cluster_size=32256; do
	io_both "the peer writes into ours $o" "$o" 'write -P 7 0 5k' 'write -P 8 20M 3M' \
		'write -z 1M 1M' 'write -P 9 29297k 512'
	for d in dense zero mixed; do
		rm -f ours/w
		peer create -q -f parallels ${o:+-o "$o"} ours/w 40M
		io -f parallels -c 'write -P 3 1M 300k' -c 'write -P 4 35M 4M' -c 'write -P 5 6291k 9k' ours/w
		peer convert -O raw ours/w ours/want
		dd if=ours/$d of=ours/want conv=notrunc bs=1M status=none
		ok -n "we write $d over it $o" qimg convert -n -f raw -O parallels ours/$d ours/w
		ok -n "$d: sound" peer_checks ours/w
		peer convert -O raw ours/w ours/back
		ok -n "$d: what was there stays" cmp ours/want ours/back
		ok -n "$d: as read_parallels.py reads it" read_disk --same ours/want ours/w
		like "$(mk fields ours/w)" 'in_use=0x0 ' "$d: closed"
	done
done
# clusters before data_off, or that beyond the end: the next is not at some odd place
for a in 'bat=1,2,0,3 data_off=20' 'bat=1,2,0,3 data_off=0xfffff800' \
	'magic=WithoutFreeSpace bat=1,3,0,5 data_off=16 size=3584'; do
	# shellcheck disable=SC2086
	mk image ours/w $a
	peer convert -f parallels -O raw ours/w ours/want
	head -c 4096 ours/dense >ours/new
	ok -n "written: $a" qimg convert -n -f raw -O parallels ours/new ours/w
	ok -n 'the same' peer compare -q -f parallels -F raw ours/w ours/new
	ok -n 'to us' qimg compare -q -f parallels -F raw ours/w ours/new
	ok -n 'sound' peer_checks ours/w
	ok -n 'no larger than it has to be' [ "$(stat -c %s ours/w)" -le 12000 ]
done
# the old magic: entries count sectors; also with data_off 0, which the peer reads as bytes
for v in data_off=1 data_off=0; do
	mk image ours/w magic=WithoutFreeSpace bat=1,0,64,0 tracks=63 sectors=250 $v size=$((127 * 512))
	peer convert -f parallels -O raw ours/w ours/want
	head -c 60000 /dev/urandom >ours/new
	dd if=ours/new of=ours/want conv=notrunc bs=1k seek=40 status=none
	dd if=/dev/zero of=ours/all bs=1k count=40 status=none
	dd if=ours/want of=ours/all bs=1k count=40 status=none
	cat ours/new >>ours/all
	ok -n "the old magic, $v: written" qimg convert -n -f raw -O parallels ours/all ours/w
	ok -n 'as the peer reads it' peer compare -q -f parallels -F raw ours/w ours/want
	ok -n 'as read_parallels.py reads it' read_disk --same ours/want ours/w
	ok -n 'sound' qimg check -q -f parallels ours/w
done
for a in 'resize w 10M' 'snapshot -c x w' 'snapshot -l w' 'snapshot -a x w' 'snapshot -d x w' \
	'amend -o cluster_size=1M w' 'measure -O parallels --size 1G' 'bitmap --remove w x' \
	'bitmap --merge y w x' 'rebase -u -b x -F raw w' 'convert -c -O parallels w v' 'commit w'; do
	# shellcheck disable=SC2086
	same_output -n "not for this format: $a" $a
done
same_output -n 'prealloc options' info --image-opts driver=parallels,file.filename=w,prealloc-mode=truncate,prealloc-size=1M
same_output -n 'a bad mode' info --image-opts driver=parallels,file.filename=w,prealloc-mode=no
same_output -n 'a bad size' info --image-opts driver=parallels,file.filename=w,prealloc-size=no
same_output -n 'no such option' info --image-opts driver=parallels,file.filename=w,prealloc-x=1
for m in falloc truncate; do
	peer create -q -f parallels -o cluster_size=64k ours/w 40M
	ok -n "with room taken ahead: $m" qimg convert -n -f raw --target-image-opts ours/mixed \
		driver=parallels,file.filename=ours/w,prealloc-mode=$m,prealloc-size=5M
	ok -n 'sound, and no room is left' peer_checks ours/w
done

# ---- damage ---------------------------------------------------------------------------
damaged() { # ARG...: the same check and info of a made image
	local name=$*
	mk image ours/bad "$@"
	same_output -n "info: $name" info -f parallels bad
	same_output -n "check: $name" check -f parallels bad
	same_output -n "check, JSON: $name" check -f parallels --output=json bad
}
mapped() { same_output -n "map: $*" map -f parallels --output=json bad; }
for a in 'bat=1,2,0,3' 'bat=3,2,1,0' 'bat=1,3,0,2' 'bat=1,0,3,0 size=4096' 'bat=0,0,0,0' 'bat=1,2,0,3 sectors=7' \
	'bat=1,2,0,3 sectors=9' 'bat=1,2,0,3 sectors=5' 'bat=1,2,0,3 version=1' 'bat=1,2,0,3 version=3' \
	'bat=1,2,0,3 magic=WithoutFreeSpac' 'bat=1,2,0,3 tracks=0' 'bat=1,2,0,3 tracks=4186128 size=4096 fill=no' \
	'bat=1,2,0,3 entries=0x20000000' 'bat=1,2,0,3 in_use=0x746F6E59' 'bat=1,2,0,3 in_use=0x312e3276' \
	'bat=1,2,0,3 in_use=1' 'bat=1,2,0,3 flags=1' 'bat=0,0,0,0 size=4096' \
	'magic=WithoutFreeSpace bat=1,3,0,5 data_off=1 size=3584' \
	'magic=WithoutFreeSpace bat=1,3,0,5 data_off=0 size=3584' \
	'magic=WithoutFreeSpace bat=1,3,0,5 data_off=1 size=9000' \
	'magic=WithoutFreeSpace bat=2,4,0,6 size=4608' \
	'magic=WithoutFreeSpace bat=1,3,0,5 data_off=1 size=3584 sectors=0x100000007'; do
	# shellcheck disable=SC2086
	damaged $a
	mapped "$a"
done
# reading what is not there is an error with us
for a in 'bat=3,2,1,9 size=4096' 'bat=0xffffffff,2,1,3' 'bat=0xffffffff,2,1,0 size=4096' \
	'bat=1,2,0,9 size=5000' 'bat=1,2,0,9 in_use=0x746F6E59'; do
	# shellcheck disable=SC2086
	damaged $a
	nok -n "not read: $a" qimg convert -f parallels -O raw ours/bad ours/back
	nok -n "not written: $a" qimg convert -n -f raw -O parallels ours/one ours/bad
done
for a in 'leaks bat=3,2,1,9 size=4096' 'all bat=3,2,1,9 size=4096' 'leaks bat=1,2,0,3 size=5000' \
	'all bat=1,2,0,3 size=5000' 'all bat=1,2,0,9 size=5000' 'leaks bat=1,2,0,9 size=5000' \
	'leaks bat=1,2,0,3 in_use=0x746F6E59' 'all bat=1,2,0,3 in_use=0x746F6E59' 'all bat=0,0,0,0 size=4096' \
	'all bat=1,2,0,10 in_use=0x746F6E59 size=9000' \
	'all magic=WithoutFreeSpace bat=1,3,0,5 data_off=1 size=9000'; do
	read -r how a <<<"$a"
	mkdir -p o1 o2
	# shellcheck disable=SC2086
	mk image o1/bad $a
	cp o1/bad o2/bad
	(cd o1 && qimg check -f parallels -r "$how" bad) >got 2>&1 && a1=0 || a1=$?
	(cd o2 && peer check -f parallels -r "$how" bad) >want 2>&1 && a2=0 || a2=$?
	is "$a1 $(<got)" "$a2 $(<want)" "check -r $how: $a"
	[ "$how" != all ] || ok -n 'sound after that' qimg check -q -f parallels o1/bad
	[ "$how" != all ] || ok -n 'for the peer, too' peer check -q -f parallels o1/bad
done
mk image ours/bad bat=1,2,0,3 in_use=0x746F6E59
same_output -n 'not closed: not written' convert -n -f raw -O parallels one bad

# what the peer does not see, with what our check makes of it
found() { # WANT-LINE ARG...
	local want=$1
	shift
	mk image ours/bad "$@"
	exits 2 -n "check: $*" qimg check -f parallels ours/bad
	like "$out$err" "$want" "says: $want"
	ok -n 'repaired' qimg check -f parallels -r all ours/bad
	ok -n 'sound' qimg check -f parallels ours/bad
	ok -n 'to the peer' peer check -q -f parallels ours/bad
	read_disk ours/bad ours/back
	ok -n 'as read_parallels.py reads it' qimg compare -q -f parallels -F raw ours/bad ours/back
}
found 'duplicate offset in BAT entry 2' bat=1,2,2,3 size=4096
is "$(od -An -c -j2048 -N8 ours/back)" "$(od -An -c -j1024 -N8 ours/back)" 'each with the data'
found 'cluster 3 is cut off by the end' bat=1,2,0,3 size=3584
is "$(od -An -c -j3072 -N8 ours/back | tr -d ' ')" 00000006 'what was there is kept'
found 'cluster 1 is outside image' bat=1,4,0,3 size=4096
found 'cluster 0 is in the header' magic=WithoutFreeSpace bat=3,129,0,131 entries=512 size=68096 data_off=0 fill=no
found 'data_off field has incorrect value 1' bat=1,2,0,3 data_off=1 size=4096
found 'data_off field has incorrect value 0' bat=1,2,0,3 data_off=0 size=4096

# ---- the format extension -----------------------------------------------------------------
good() { # ARG...: an image with a dirty bitmap
	mk image ours/x bat=1,2,0,3,0,0,0,0 tracks=4 sectors=31
	mk extend ours/x "$@"
}
good bits=4
same_output -n 'with a bitmap: info, which does not tell of it' info --output=json -f parallels x
ok -n 'ours does' platter info --output=json ours/x
like "$out" '"name": "00010203-0405-0607-0809-0a0b0c0d0e0f"' 'by name'
like "$out" '"granularity": 1024' 'and granularity'
ok -n 'its clusters are no leak' qimg check -q -f parallels ours/x
ok -n 'copied with the disk' platter convert --bitmaps -O qcow2 ours/x bits.qcow2
ok -n 'the copy has it' qimg info bits.qcow2
like "$out" 'name: 00010203-0405-0607-0809-0a0b0c0d0e0f' 'under its name'
cp ours/x ours/y
exits 1 -n 'no bitmap is made' qimg bitmap --add ours/y new
like "$err" "Can't store persistent bitmaps" 'and it says so'
exits 1 -n 'none is cleared' qimg bitmap --clear ours/y 00010203-0405-0607-0809-0a0b0c0d0e0f
exits 1 -n 'none of another name is there' qimg bitmap --clear ours/y x
like "$err" "Dirty bitmap 'x' not found" 'as the peer says'

bits() { # of the first bitmap in the file; the extension is sound
	python3 - "$1" <<'END'
import hashlib, struct, sys
img = open(sys.argv[1], "rb").read()
n = struct.unpack_from("<I", img, 28)[0] * 512
ext = img[struct.unpack_from("<Q", img, 56)[0] * 512:][:n]
if not struct.unpack_from("<Q", img, 56)[0]:
    sys.exit("no extension")
assert hashlib.md5(ext[24:]).digest() == ext[8:24], "checksum"
table = struct.unpack_from("<Q", ext, 24 + 24 + 32)[0]
print({0: "none", 1: "all"}.get(table) or img[table * 512:table * 512 + 4].hex())
END
}
head -c 600 /dev/urandom >part
for t in 'bits=4 05000000' 'bits=0x17ffe ff7f0000' 'table=0 01000000' 'table=1 all'; do
	read -r t want <<<"$t"
	good "$t"
	cp ours/x ours/want
	ok -n "written with a bitmap: $t" qimg convert -n -f raw -O parallels part ours/x
	is "$(bits ours/x)" "$want" 'the bitmap follows'
	like "$(mk fields ours/x)" 'in_use=0x312e3276 ' 'closed by one who knows of it'
	ok -n 'sound' qimg check -q -f parallels ours/x
	ok -n 'the peer reads it' peer convert -f parallels -O raw ours/x ours/back
	ok -n 'as read_parallels.py does' read_disk --same ours/back ours/x
done
# after the peer wrote, it is not valid; where it says so we follow
good bits=4
io -f parallels -c 'write 0 512' ours/x
ok -n 'the peer wrote: the extension is passed over' platter info --output=json ours/x
unlike "$out" bitmaps 'and not told'
ok -n 'we write' qimg convert -n -f raw -O parallels part ours/x
ok -n 'the peer can open it again' peer info -f parallels ours/x
good bits=4
io -f parallels -c 'write 0 512' ours/x
ok -n 'the same, by our check' qimg check -r all ours/x
ok -n 'the peer can open it again' peer info -f parallels ours/x
good bits=4 in_use=0x746F6E59
ok -n 'not closed: the bitmap is not to be trusted' platter info --output=json ours/x
like "$out" '"inconsistent": true' 'and that is told'
nok -n 'nor copied' platter convert --bitmaps -f parallels -O qcow2 ours/x bits.qcow2
ok -n 'but left out if asked' platter convert --bitmaps --skip-broken-bitmaps -f parallels -O qcow2 ours/x bits.qcow2
ok -n 'repaired' qimg check -q -r all ours/x
ok -n 'then it is gone' platter info --output=json ours/x
unlike "$out" bitmaps 'and not told'
for t in sum=bad magic=7 sectors=9 table=99 table=1,1 end=0 granularity=3 copies=20; do
	good "$t"
	ok -n "a bad extension, $t: read" qimg convert -f parallels -O raw ours/x ours/back
	ok -n 'the same' read_disk --same ours/back ours/x
	case $t in end=*) want=0 ;; *) want=2 ;; esac
	exits $want -n 'check finds it' qimg check -f parallels ours/x
	ok -n 'written' qimg convert -n -f raw -O parallels part ours/x
	exits 0 -n 'then it is dropped, or what is bad of it' qimg check -q -r leaks ours/x
	ok -n 'the peer reads it' peer convert -f parallels -O raw ours/x ours/back
done
good magic=7 flags=1
nok -n 'a feature that is necessary and not known: not written' \
	qimg convert -n -f raw -O parallels part ours/x
like "$err" 'the feature 0x7 is unknown' 'and it says why'
good magic=7 flags=2
ok -n 'one that is to be left as it is' qimg convert -n -f raw -O parallels part ours/x
like "$(bits ours/x)" . 'is left, with a good checksum'

# ---- a disk in a folder ------------------------------------------------------------------
mkdir d.hdd
mk image d.hdd/b.hds bat=1,2,0,3,0,0
mk image d.hdd/m.hds bat=0,1,0,0,0,2
mk image d.hdd/t.hds magic=WithoutFreeSpace bat=0,0,2,4,0,0
head -c 4096 /dev/urandom >d.hdd/p.raw
mk image d.hdd/q.hds bat=0,1,0,0
mk image d.hdd/r.hds bat=0,0,0,0
mk disk d.hdd storage=0:12:t.hds,m.hds,b.hds storage=12:20:r.hds,q.hds,p.raw
read_disk d.hdd want
for name in d.hdd d.hdd/ d.hdd/DiskDescriptor.xml "json:{\"driver\": \"parallels\", \
	\"file\": {\"filename\": \"d.hdd/DiskDescriptor.xml\"}}"; do
	ok -n "read: ${name%%:*}" qimg convert -O raw "$name" back
	ok -n 'as read_parallels.py reads it' cmp back want
done
ok -n 'its check' platter check d.hdd
ok -n 'its map' platter map --output=json d.hdd
ok -n 'its snapshots' platter snapshot -l d.hdd
like "$out" '1 +.00000001-0000-0000-0000-000000000000.' 'the first'
like "$out" '2 +.00000002-0000-0000-0000-000000000000.' 'the second'
unlike "$out" 5fbaabe3 'not the present state'
mk disk s.hdd "top={00000009-0000-0000-0000-000000000000}" storage=0:12:m.hds,b.hds storage=12:20:q.hds,p.raw
cp d.hdd/*.hds d.hdd/*.raw s.hdd
read_disk s.hdd want
for l in 1 "{00000001-0000-0000-0000-000000000000}" snapshot.id=1; do
	ok -n "snapshot $l" platter convert -l $l -O raw d.hdd back
	ok -n 'is what it was' cmp back want
done
ok -n 'by its TopGUID' qimg convert -O raw s.hdd back
ok -n 'the same' cmp back want
nok -n 'no such snapshot' platter convert -l 3 -O raw d.hdd back
for a in 'snapshot -c x d.hdd' 'resize d.hdd 1M' 'check -r all d.hdd' 'convert -n -f raw -O parallels part d.hdd' \
	'bitmap --add d.hdd x'; do
	# shellcheck disable=SC2086
	nok -n "only read: $a" platter $a
	like "$err" 'only be read' 'and it says so'
done
mkdir other
mv s.hdd/m.hds other
nok -n 'a part is missing' qimg convert -O raw s.hdd back
ok -n 'the user says where it is' qimg convert -O raw --image-opts \
	driver=parallels,file.filename=s.hdd/DiskDescriptor.xml,extents.0.filename=other/m.hds back
ok -n 'the same' cmp back want
mv other/m.hds s.hdd
refused() { # WANT ARG...
	local want=$1
	shift
	mk disk s.hdd "$@"
	exits 1 -n "refused: $*" platter convert -O raw s.hdd back
	like "$err" "$want" "says: $want"
}
refused 'with padding' storage=0:12:b.hds padding=1
refused 'is encrypted' storage=0:12:b.hds "engine={00000000-0000-0000-0000-000000000001}"
refused 'only what lies in its folder' storage=0:12:/etc/passwd
refused 'only what lies in its folder' storage=0:12:../s.hdd/b.hds
refused 'only what lies in its folder' storage=0:12:x/../../b.hds
refused 'only plain paths' storage=0:12:nbd:localhost:1
refused "Could not open 's.hdd/none.hds'" storage=0:12:none.hds
refused 'should begin at 0 of 12' storage=2:12:b.hds
refused 'should begin at 6 of 20' storage=0:6:b.hds storage=7:20:m.hds
refused 'storages end at sector 12, the disk at 20' storage=0:12:b.hds size=20
refused 'bytes of a storage' storage=0:20:b.hds
refused 'bytes of a storage' storage=0:9:p.raw
refused 'yet a difference' storage=0:8:p.raw,b.hds
refused 'have a loop' storage=0:12:t.hds,b.hds "root={5fbaabe3-6958-40ff-92a7-860e329aab41}"
refused 'has 2 images, and 3 are needed' storage=0:12:t.hds,b.hds "root={00000003-0000-0000-0000-000000000000}"
mkfifo s.hdd/fifo
refused 'regular file' storage=0:12:fifo
sed -i 's/Version="1.0"/Version="2.0"/' s.hdd/DiskDescriptor.xml
nok -n 'another version' platter info s.hdd
echo '<Parallels_disk_image' >s.hdd/DiskDescriptor.xml
nok -n 'not XML' platter info s.hdd
rm s.hdd/DiskDescriptor.xml
same_output -n 'a folder that is none' info ../s.hdd
done_testing
