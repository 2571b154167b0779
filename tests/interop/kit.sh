# shellcheck shell=bash
# shellcheck disable=SC2017
# What the interop tests share. A test sources it after tap.sh and then has
#
#	img ARG..., io ARG...      the peer makes a qcow2 image, writes into it (qemu-io)
#	reader ARG...              reader.py, run by itself
#	same_disk [-n NAME] [-l SNAPSHOT] RAW IMAGE
#	                           a test: reader.py finds RAW in IMAGE, paths from $T on
#	noise FILE SIZE            a file with text, random bytes, zeros and holes
#	one_folder                 the folders ours and peer are one, so that both name the
#	                           same files
#	layer NAME FORMAT OPTIONS SIZE N [BELOW]
#	                           the peer makes an image, over BELOW, whose name's extension
#	                           is its format: some of everything, other clusters for each N
#	held HOW FILE NAME ARG...  same_output -n NAME ARG while qemu-io HOW has FILE of the one
#	                           folder open
#	both_ways NAME RAW ARG...  after that: ours/RAW is converted to qcow2 with ARG, by us
#	                           and by the peer. What we write is sound to the peer, and
#	                           the same disk to the peer and to reader.py. What the peer
#	                           writes gives the same check, map and info as there, and
#	                           the same disk.
#	                           FMT=vdi does it for another format. A function
#	                           other_reader NAME RAW IMAGE, where the test has one, is a
#	                           test by one more program; CHECKS= for formats whose images
#	                           the peer cannot check.

img() { peer create -q -f qcow2 "$@" || fail "create $*"; }
io() { qemu-io "$@" >/dev/null 2>&1 || fail "qemu-io $*"; }
layer() {
	local name=$1 fmt=$2 o=$3 size n=$5 below=() k
	size=$(numfmt --from=iec "${4^^}")
	[ -z "${6:-}" ] || below=(-b "$6" -F "${6##*.}")
	rm -f "$name"
	if [ "$fmt" = raw ]; then
		truncate -s "$size" "$name"
	else
		peer create -q -f "$fmt" ${o:+-o "$o"} "${below[@]}" "$name" "$size" || fail "create $name"
	fi
	[ "$size" -ge 400000 ] || return 0
	k=$((size / 512 - 600))
	io -f "$fmt" -c "write -P $n 0 70k" -c "write -P 9 128k 64k" \
		-c "write -P $n $((n * 30 + 200))k 20k" -c "write -P 0 192k 4k" \
		-c "write -z $((n * 16 + 64))k 40k" -c "write -P $((n + 50)) $((k / n * 512)) 9k" "$name"
}

reader() { python3 "$TOP/tests/interop/reader.py" "$@"; }

# One interpreter for the whole test: starting it takes longer than the reading.
reader_from='' reader_to=''
same_disk() {
	local name='' answer
	[ "$1" != -n ] || { name=$2; shift 2; }
	if [ -z "$reader_to" ]; then
		coproc READER { cd "$T" && exec python3 "$TOP/tests/interop/reader.py" -; }
		reader_from=${READER[0]} reader_to=${READER[1]}
	fi
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

one_folder() {
	mkdir ours
	ln -s ours peer
}

held() {
	local how=$1 file=$2 name=$3 inode holder
	shift 3
	(cd ours && exec qemu-io ${how:+"$how"} -c 'sleep 600000' "$file" >/dev/null 2>&1) &
	holder=$!
	inode=$(stat -Lc %i "ours/$file")
	until grep -q "OFDLCK.*:$inode " /proc/locks || ! kill -0 $holder; do sleep 0.05; done
	sleep 0.2 # the last of its locks
	same_output -n "$name" "$@"
	kill $holder
	wait $holder 2>/dev/null
}

# no_larger NAME ARG...: what is compressed depends on the library; a subcluster of zeros
# has its room with us; where blocks can be shared, zeros are looked for in larger pieces
no_larger() {
	local more=0
	case $(stat -f -c %T "$T") in xfs | btrfs | bcachefs) return ;; esac
	[[ " $* " != *' -c '* ]] || more=12
	[[ $* != *extended_l2* ]] || return
	ok -n "$1: not larger than the peer's, or by $more %" \
		[ "$(stat -c %s ours/w)" -le $(($(stat -c %s ours/r) * (100 + more) / 100)) ]
}

# not every format has a check there: CHECKS= says so
peer_checks() { [ "${CHECKS-yes}" != yes ] || peer check -q -f "${FMT:-qcow2}" "$1"; }

both_ways() {
	local name=$1 raw=ours/$2 fmt=${FMT:-qcow2}
	shift 2
	rm -f ours/w ours/r ours/back
	ok -n "we write $name" qimg convert "$@" -f raw -O "$fmt" "$raw" ours/w || return
	ok -n "$name: sound" peer_checks ours/w
	ok -n "$name: the same disk" peer compare -q -f raw -F "$fmt" "$raw" ours/w
	case $fmt in
	qcow2) same_disk -n "$name" "$raw" ours/w ;;
	*) ! declare -F other_reader >/dev/null || other_reader "$name" "$raw" ours/w ;;
	esac
	peer convert "$@" -f raw -O "$fmt" "$raw" ours/r || fail "the peer: $name"
	no_larger "$name" "$@"
	[ "${CHECKS-yes}" != yes ] || same_output -n "$name: check" check --output=json r
	same_output -n "$name: map" map --output=json r
	same_output -n "$name: info" info --output=json r
	ok -n "$name: compare" qimg compare -q -f raw -F "$fmt" "$raw" ours/r
	ok -n "$name: we read" qimg convert -O raw ours/r ours/back
	ok -n "$name: the same" peer compare -q -f raw -F raw "$raw" ours/back
	is "$(stat -c %s ours/back)" $((($(stat -c %s "$raw") + 511) / 512 * 512)) "$name: its size"
}
