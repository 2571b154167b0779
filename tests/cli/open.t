#!/bin/bash
# What is opened, what is refused, and what a message says of it.
. "${0%/*}/../tap.sh"

be() { printf '%b' "$(printf '\\x%02x' $(($1 >> 24)) $(($1 >> 16 & 255)) $(($1 >> 8 & 255)) $(($1 & 255)))"; }

# at FILE OFFSET: stdin goes there
at() { dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }

# image FILE [BACKING [FORMAT]]: an empty qcow2 of 1 MiB that names whatever is asked
image() {
	rm -f "$1"
	truncate -s 262144 "$1"
	printf 'QFI\xfb\0\0\0\3' | at "$1" 0
	be 16 | at "$1" 20
	be 1048576 | at "$1" 28
	be 1 | at "$1" 36
	be 196608 | at "$1" 44
	be 65536 | at "$1" 52
	be 1 | at "$1" 56
	be 4 | at "$1" 96
	be 104 | at "$1" 100
	be 131072 | at "$1" 65540
	printf '\0\1\0\1\0\1\0\1' | at "$1" 131072
	[ $# -gt 1 ] || return 0
	be 512 | at "$1" 12
	be ${#2} | at "$1" 16
	printf %s "$2" | at "$1" 512
	[ $# -gt 2 ] || return 0
	printf '\xe2\x79\x2a\xca' | at "$1" 104
	be ${#3} | at "$1" 108
	printf %s "$3" | at "$1" 112
}

truncate -s 1M base.raw
image plain.qcow2
ok qimg check plain.qcow2

# An image's word for another file is a plain path.
for name in 'json:{"driver":"raw","file":{"filename":"base.raw"}}' nbd://localhost/x \
	http://localhost/x file:base.raw null-co:// fd:0 host_device:/dev/null \
	'blkdebug::base.raw' :base.raw; do
	image evil.qcow2 "$name" raw
	exits 1 qimg map evil.qcow2
	like "$err" 'Could not open backing file: The image names .* only plain paths' "why: $name"
	is "$(printf %s "$err" | wc -l)" 1 'two lines: what, and what to do'
	ok -n "info shows the name $name" qimg info evil.qcow2
	like "$out" "backing file: " 'and opens nothing'
done
ok -n 'the user may name it himself' qimg map --image-opts \
	driver=qcow2,file.filename=evil.qcow2,backing.driver=raw,backing.file.filename=base.raw
ok -n 'or say that there is none' qimg map --image-opts \
	driver=qcow2,file.filename=evil.qcow2,backing=
image odd.qcow2 'driver=null-co,size=1' raw
exits 1 qimg map odd.qcow2
like "$err" "'driver=null-co,size=1': No such file" 'options in a name are a part of it'
image odd.qcow2 ./a:b raw
cp base.raw a:b
ok -n 'a path with a colon, after a slash' qimg map odd.qcow2

# Where a relative name leads.
mkdir dir
cp base.raw dir/only.raw
image dir/rel.qcow2 only.raw raw
ok qimg map dir/rel.qcow2
ln -s dir/rel.qcow2 link.qcow2
nok -n 'a link is where its name stands, not where it leads' qimg map link.qcow2

# Loops and depth.
image self.qcow2 self.qcow2 qcow2
exits 1 qimg map self.qcow2
like "$err" "loop: 'self.qcow2' is in it already" 'a loop of one'
image x.qcow2 y.qcow2 qcow2
image y.qcow2 ./x.qcow2 qcow2
exits 1 qimg map x.qcow2
like "$err" "loop: './x.qcow2' is in it already" 'a loop of two'
exits 1 qimg info --backing-chain x.qcow2
image n0
for i in {1..200}; do image "n$i" "n$((i - 1))" qcow2; done
ok -n '200 images are a chain' qimg map n199
exits 1 -n '201 are too many' qimg map n200
like "$err" "deeper than 200 images: 'n0' is one more" 'which says so'

# A raw file that was only guessed to be one, and is written.
if "$PLATTER" convert --help >/dev/null 2>&1; then
	printf 'QFI\xfb\0\0\0\3' >head.raw
	truncate -s 1M head.raw
	printf abc >tail.raw
	truncate -s 1M tail.raw guest.raw
	exits 1 qimg convert -n -f raw head.raw --target-image-opts file.filename=guest.raw
	like "$err" "WARNING: Image format was not specified for 'guest.raw' and probing guessed raw" \
		'the warning'
	like "$err" 'Operation not permitted' 'a guest may not make its disk another image'
	is "$(head -c 4 guest.raw | tr -d '\0')" '' 'nothing of it was written'
	ok -n 'other data may be written' \
		qimg convert -n -f raw tail.raw --target-image-opts file.filename=guest.raw
	ok cmp tail.raw guest.raw
	run qimg convert -n -f raw head.raw -O raw guest.raw
	is "$rc$err" 0 'with the format given nothing is refused, nothing is said'
	ok cmp head.raw guest.raw
	exits 1 qimg convert -n -f raw base.raw --target-image-opts \
		driver=raw,file.filename=guest.raw,read-only=on
	like "$err" 'Block node is read-only' 'read-only=on'
	exits 1 qimg convert -n -f raw base.raw --target-image-opts \
		driver=raw,file.filename=guest.raw,force-share=on

	# detect-zeroes, where the scan for zeros is off
	head -c 1M /dev/urandom >full.raw
	ok qimg convert -n -S 0 -f raw base.raw --target-image-opts \
		driver=raw,file.filename=full.raw,detect-zeroes=unmap,discard=unmap
	like "$(stat -c %b full.raw)" '^[0-8]$' 'detect-zeroes=unmap gives the space back'
	ok cmp base.raw full.raw
	image zero.qcow2
	ok qimg convert -n -S 0 -f raw base.raw --target-image-opts \
		driver=qcow2,file.filename=zero.qcow2,detect-zeroes=on
	is "$(stat -c %s zero.qcow2)" 262144 'detect-zeroes of an image allocates nothing'
fi

# Non-files.
mkfifo fifo
exits 1 timeout 10 "$QIMG" info fifo
exits 1 qimg info dir
like "$err" "requires 'dir' to be a regular file" 'a directory'

# Our own name: a driver that is nearly one.
exits 1 platter info -f nonsense base.raw
is "$err" "platter: Could not open 'base.raw': Unknown driver 'nonsense'" 'unknown driver'

done_testing
