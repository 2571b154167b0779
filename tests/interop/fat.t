#!/bin/bash
# A folder as a FAT disk, beside the peer's, and as fsck.fat, mtools and 7z read it.
. "${0%/*}/../tap.sh"
skip_unless qemu-img fsck.fat mdir mcopy minfo
peer_version qemu-img
export LC_ALL=C.UTF-8 MTOOLS_NO_VFAT=0

twins
ln -s "$T/d" ours/d
ln -s "$T/d" peer/d
mkdir d d/sub d/c:
echo hello >d/a.txt
echo 'a long one' >'d/A long name.text'
printf x >d/sub/b
rmdir d/c:
mkdir ours/q:r peer/q:r
truncate -s 1M ours/raw peer/raw

# ---- names, as the peer takes them ----------------------------------------------------------
for l in d 12:d 16:d floppy:d floppy:12:d 12:floppy:d floppy:16:d 12:16:d ./d "$T/d" //"$T"/d q:r 12:q:r \
	floppy:floppy:d; do
	same_output info "fat:$l"
	same_output info --output=json "fat:$l"
	same_output info -f raw "fat:$l"
	same_output info -f vvfat "fat:$l"
done
for o in driver=vvfat,dir=d driver=vvfat,dir=d,fat-type=16,label=XY,floppy=on \
	driver=raw,file.driver=vvfat,file.dir=d,file.fat-type=12,file.label=XY \
	driver=vvfat driver=vvfat,dir=d,fat-type=13 driver=vvfat,dir=d,fat-type=x \
	driver=vvfat,dir=d,floppy=x driver=vvfat,dir=d,label=abcdefghijkl driver=vvfat,dir=d,bogus=1; do
	same_output info --image-opts "$o"
done
same_output info 'json:{"driver": "vvfat", "dir": "d"}'
same_output info 'json:{"driver": "vvfat", "dir": "d", "fat-type": 16, "floppy": true, "rw": false, "label": "q"}'
same_output info 'json:{"file": {"driver": "vvfat", "dir": "d"}}'

# ---- what cannot be done --------------------------------------------------------------------
for c in 'info -f vvfat d' 'info -f qcow2 fat:d' 'info FAT:d' 'check fat:d' 'resize fat:d 1G' \
	'resize -f raw fat:d 1G' 'commit fat:d' 'convert -n -O raw raw fat:d' 'convert -O raw raw fat:d' \
	'convert -O vvfat raw fat:d' 'convert -n -O vvfat raw fat:d' 'create -f vvfat fat:d 10M' \
	'create -f vvfat x 10M' 'create -f raw fat:d 10M' 'create -f vvfat -o help x' \
	'snapshot -l fat:d' 'measure -O raw fat:d' 'compare fat:d fat:d'; do
	# shellcheck disable=SC2086
	same_output $c
done
more='s/: (No such file|Not a directory).*//; /leave out/d'
for c in 'info fat:none' 'info fat:' 'info fat:d/a.txt' 'info fat:x:d' 'info fat:floppyd' 'info fat:rw:d' \
	'info --image-opts driver=vvfat,dir=d,rw=on' 'convert -O raw fat:rw:d x'; do
	# shellcheck disable=SC2086
	same_output -f "$more" -n "$c, but for the reason" $c
done
exits 1 -n 'a word that is none' qimg info fat:13:d
like "$err" "'13' is not among floppy, 12, 16, 32, label=NAME and rw" 'is named'
exits 1 -n 'FAT32 on a floppy' qimg info fat:floppy:32:d
qimg create -q -f qcow2 -b fat:d -F raw over
is "$(peer info over | sed -n 's/^virtual size: //p')" '504 MiB (528482304 bytes)' 'an overlay'
exits 1 -n 'but no image may name it' qimg convert -O raw over x
like "$err" 'only plain paths of local files are followed' 'since it could name any folder'

# ---- contents ---------------------------------------------------------------------------
disk() { # OPTIONS...: converts the folder t; `whole` is the disk and `part` the file system
	local o="driver=vvfat,dir=t$*"
	rm -f whole part
	platter convert --image-opts -O raw "$o" whole || return
	case $* in
	*floppy*) ln -s whole part ;;
	*) platter convert --image-opts -O raw "driver=raw,offset=32256,file.${o//,/,file.}" part ;;
	esac
}
files() { # NAME DISK: as mtools finds them
	rm -rf got
	mkdir got
	[ "$(mdir -b -i "$2" 2>/dev/null | wc -l)" = 0 ] || mcopy -s -n -m -i "$2" '::*' got >/dev/null 2>&1
	ok -n "$1" diff -r t got
}
each() { # NAME TYPE...: the folder t in each type
	local name=$1 o
	shift
	for o; do
		ok -n "$name, '$o'" disk "$o" || continue
		ok -n "$name, '$o': fsck.fat" fsck.fat -n part
		[ -z "${light:-}" ] || continue
		files "$name, '$o': mtools" part
		command -v 7z >/dev/null || continue
		rm -rf got
		7z x -y -ogot part >/dev/null
		mkdir -p got
		ok -n "$name, '$o': 7z" diff -r t got
	done
	ok -n "$name: compare" platter compare -f raw -F raw "fat:t" whole.auto
}
all=('' ',fat-type=12' ',fat-type=16' ',fat-type=32')
auto() { platter convert -O raw fat:t whole.auto; }

mkdir t
auto
each 'nothing' "${all[@]}" ,floppy=on ,floppy=on,fat-type=12 ,floppy=on,fat-type=16
cp -r d/. t/
auto
each 'a few' "${all[@]}" ,floppy=on ,floppy=on,fat-type=12 ,floppy=on,fat-type=16 \
	,label=disk,fat-type=32
like "$(minfo -i part ::)" 'disk label="DISK' 'the label'
like "$(mdir -i part ::)" 'Volume in drive : is DISK' 'the label in the root'
disk ''
like "$(mdir -i part ::)" 'Volume in drive : is QEMU VVFAT' "the peer's label"
like "$(mdir -i part ::)" 'FABE-1AFD' 'its serial number'
for o in '' 12: floppy: floppy:12: 16:; do
	rm -f peer.img
	peer convert -O raw "fat:${o}t" peer.img
	platter convert -O raw "fat:${o}t" our.img
	at=32256
	[[ $o != *floppy* ]] || at=0
	files "'$o': the peer's disk has the same files" peer.img@@$at
	files "'$o': ours" our.img@@$at
	is "$(stat -c %s our.img)" "$(stat -c %s peer.img)" "'$o': the same size"
	is "$(mdir -/ -a -f -i our.img@@$at | grep -E '^[A-Z].*(TXT|TEX|DIR)' | sort | tr -s ' ')" \
		"$(mdir -/ -a -f -i peer.img@@$at | grep -E '^[A-Z].*(TXT|TEX|DIR)' | sort | tr -s ' ')" \
		"'$o': the same short names, dates and sizes"
done

rm -rf t
mkdir -p t/many t/'with spaces'/'ünï'
for i in {1..500}; do echo "$i" >"t/many/a long file name, number $i.text"; done
p=t/deep
mkdir "$p"
for i in {1..40}; do
	p+=/level$i
	mkdir "$p"
	echo "$i" >"$p/f"
done
: >t/empty
echo 1 >t/ESC~1.TXT
echo 2 >'t/escape plan.txt'
echo 3 >t/.hidden
echo 4 >'t/a+b,c;d=e[f].x y'
echo 5 >t/日本語のファイル名.txt
head -c 3000000 /dev/urandom >t/noise
head -c 8192 /dev/urandom >t/8k
head -c 8193 /dev/urandom >t/8k1
ln t/noise t/linked
printf x >"t/$(printf 'n%.0s' {1..255})"
truncate -s 5M t/holes
echo tail >>t/holes
auto
each 'more' "${all[@]}"
for f in qcow2 vdi; do
	platter convert -O $f fat:t w.$f
	ok -n "as $f" peer compare -q -f raw -F $f whole.auto w.$f
done
platter convert -m 1 -S 0 -O raw fat:t w.raw
ok -n 'all written, by one' cmp whole.auto w.raw
platter convert -C -W -O raw fat:t w.raw
ok -n 'by the kernel' cmp whole.auto w.raw
ok -n 'sparse' [ "$(du -k whole.auto | cut -f1)" -lt 30000 ]
touch -d @1000000000 t
TZ=Asia/Tokyo SOURCE_DATE_EPOCH=1000000000 platter convert -O raw fat:t w1
find t -exec touch {} +
SOURCE_DATE_EPOCH=1000000000 platter convert -O raw fat:t w2
ok -n 'the same with SOURCE_DATE_EPOCH' cmp w1 w2
rm -f w.* w1 w2

# large ones: nothing is written for what is a hole
rm -rf t
light=yes
mkdir t
truncate -s 600M t/a
echo end >>t/a
auto
each 'larger than the usual disk' '' ,fat-type=16
is "$(platter info fat:t | sed -n 's/^virtual size: //p')" '604 MiB (633346560 bytes)' 'whole cylinders'
is "$(mtype -i whole@@32256 ::a | tail -c 4)" end 'to its end'
truncate -s 3G t/b
auto
each 'larger than FAT16' ''
exits 1 -n 'FAT16' platter info fat:16:t
like "$err" "'t' needs [0-9]* clusters of 32768 bytes: FAT16 has 65524 at most" 'says so'
truncate -s 4G t/b
exits 1 -n 'a file of 4 GiB' platter info fat:t
like "$err" "'t/b' has 4294967296 bytes" 'is named'
rm -rf t whole* part peer.img our.img

# the borders between the types: one cluster less, and not one more
for c in '12 4084' '16 65524'; do
	read -r type n <<<"$c"
	mkdir t
	truncate -s $((n * 32768)) t/a
	auto 2>/dev/null
	disk ",fat-type=$type"
	ok -n "FAT$type with $n clusters: fsck.fat" fsck.fat -n part
	like "$out" "/$n clusters" 'all of them'
	like "$(minfo -i part ::)" "FAT$type " "minfo"
	truncate -s +1 t/a
	exits 1 -n 'one more' platter info "fat:$type:t"
	rm -rf t
done

# ---- what has no place on FAT ---------------------------------------------------------------
mkdir t
echo a >t/Readme
echo b >t/README
exits 1 -n 'names that differ in case' platter info fat:t
like "$err" "'t/README' and 'Readme' beside it are the same name" 'are both said'
rm t/README
echo c >t/a:b
exits 1 -n 'a colon' platter info fat:t
like "$err" "'t/a:b' cannot be on a FAT disk" 'is said'
rm t/a:b
mkfifo t/fifo
ln -s Readme t/inside
ln -s ../d/a.txt t/outside
ok -n 'other things' platter info fat:t
like "$err" "warning: 't/fifo' is left out: it is neither a file nor a folder" 'a FIFO'
like "$err" "warning: 't/outside' is left out: it is a symbolic link" 'a link that leads out'
platter convert -O raw fat:t whole 2>/dev/null
is "$(mtype -i whole@@32256 ::inside)" a 'a link to a file in the folder'
is "$(mdir -b -i whole@@32256 | sort | tr '\n' ' ')" '::/Readme ::/inside ' 'and nothing else'
rm t/fifo t/outside
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
	chmod 755 "$T" t
	chmod 0 t/Readme
	cp "$PLATTER" p
	exits 1 -n 'a file that is not readable' setpriv --reuid=65534 --clear-groups ./p info "fat:$T/t"
	like "$err" 'Could not read file .*/t/(Readme|inside): Permission denied' 'is named'
fi

# ---- map --------------------------------------------------------------------------------
chmod 644 t/Readme
ok platter map fat:t
like "$out" '0x2 +0 +t/Readme' 'where a file is'
is "$(platter map --output=json fat:t | python3 -c '
import json, sys
print(sum(e["length"] for e in json.load(sys.stdin)))')" 528482304 'JSON'
ok -n 'measure' platter measure -O qcow2 --output=json fat:t
like "$out" '"required": [0-9]{6},' 'knows what is empty'
done_testing
