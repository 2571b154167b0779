# shellcheck shell=bash
# What the interop tests share. A test sources it after tap.sh and then has
#
#	img ARG..., io ARG...      the peer makes a qcow2 image, writes into it (qemu-io)
#	reader ARG...              reader.py, run by itself
#	same_disk [-n NAME] [-l SNAPSHOT] RAW IMAGE
#	                           a test: reader.py finds RAW in IMAGE
#	noise FILE SIZE            a file with text, random bytes, zeros and holes

img() { peer create -q -f qcow2 "$@" || fail "create $*"; }
io() { qemu-io "$@" >/dev/null 2>&1 || fail "qemu-io $*"; }
reader() { python3 "$TOP/tests/interop/reader.py" "$@"; }

# One interpreter for the whole test: starting it takes longer than the reading.
reader_from='' reader_to=''
same_disk() {
	local name='' answer
	[ "$1" != -n ] || { name=$2; shift 2; }
	if [ -z "$reader_to" ]; then
		coproc READER { exec python3 "$TOP/tests/interop/reader.py" -; }
		reader_from=${READER[0]} reader_to=${READER[1]}
	fi
	# it stays in the folder where the test began
	echo "--same $*" >&"$reader_to"
	read -r answer <&"$reader_from" || answer='no answer'
	is "$answer" same "${name:-$*}: as reader.py reads it"
}

noise() {
	{
		seq 1 60000
		head -c 700000 /dev/urandom
		head -c 600000 /dev/zero
		seq 1 20000 | head -c 100000
	} >"$1.all"
	{
		cat "$1.all"
		head -c 300000 /dev/urandom
		cat "$1.all"
	} | head -c "$2" >"$1"
	rm "$1.all"
	truncate -s "$2" "$1"
	[ "$2" -lt 3000000 ] || fallocate -p -o 2000000 -l 500000 "$1"
	sync "$1"
}
