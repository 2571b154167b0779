#!/bin/bash
# shellcheck disable=SC2086
# kill -9 of every command that changes an image in place, before its first, second ... call
# that changes a file (tests/cli/suicide.c): the image is sound but for leaks, in our eyes and
# the peer's, nothing that was there is lost, and repair leaves nothing to repair.
# Some of the calls; all of them with CRASH_FULL=1.
. "${0%/*}/../tap.sh"

suicide=${PLATTER%/*}/tests/cli/suicide
[ -x "$suicide" ] || skip_all 'no suicide in this build'
command -v python3 >/dev/null || skip_all 'no python3'
most=4 reader=$QIMG
[ "${CRASH_FULL:-0}" = 0 ] || most=100000

cat >among.py <<'END'
# GOT CHOICE...: each sector of GOT is that of one of the others, or past all their ends
import sys

got, *rest = (open(name, "rb").read() for name in sys.argv[1:])
for i in range(0, min(len(got), max(len(r) for r in rest)), 512):
    if not any(got[i:i + 512] == r[i:i + 512] for r in rest if i < len(r)):
        sys.exit("sector %d is none of them" % (i // 512))
END

# as_raw ARG... : the contents as $reader reads them, to `got`
as_raw() {
	rm -f got
	"$reader" convert -q "$@" -O raw got
}

# sound FILE: by both checkers
sound() {
	local code
	qimg check -q "$1" >/dev/null 2>&1
	code=$?
	[ $code = 0 ] || [ $code = 3 ] || { echo "our check: $code"; return 1; }
	[ -x "$PEER" ] || return 0
	"$PEER" check -q "$1" >/dev/null 2>&1
	code=$?
	[ $code = 0 ] || [ $code = 3 ] || { echo "the peer's check: $code"; return 1; }
}

# contents CHOICE...: of the image $file, and of its snapshot `one` where it has that
contents() {
	as_raw "$file" || return 1
	python3 among.py got "$@" || return 1
	qimg snapshot -l "$file" | grep -q ' one ' || return 0
	as_raw -l snapshot.name=one "$file" || return 1
	python3 among.py got one.raw
}

# survives CHOICE...: all that must be true after a kill
survives() {
	local f reader=$PEER
	[ -x "$PEER" ] || reader=$QIMG
	for f in $images; do sound $f || return 1; done
	contents "$@" || return 1
	reader=$QIMG
	for f in $images; do
		qimg check -q -r all $f >/dev/null 2>&1
		qimg check -q $f >/dev/null 2>&1 || { echo "not clean after repair: $f"; return 1; }
	done
	contents "$@" || { echo 'lost by repair'; return 1; }
}

# killed CHOICES ARG...: $file and the other $images are from the folder `from`
killed() {
	local choices=$1 n step calls why='' kills=0 f
	shift
	for f in $images; do cp --sparse=always from/$f $f; done
	KILL_COUNT=$T/calls ok -n "$* ($images)" "$suicide" "$@" || return
	calls=$(cat calls)
	step=$(((calls + most - 1) / most))
	for ((n = 1; n <= calls; n += step)); do
		for f in $images; do cp --sparse=always from/$f $f; done
		(KILL_AT=$n exec "$suicide" "$@") >/dev/null 2>&1
		[ $? = 137 ] || { why="no kill at call $n"; break; }
		# shellcheck disable=SC2086
		why=$(survives $choices 2>&1) || { why="at call $n of $calls: $why"; break; }
		kills=$((kills + 1))
	done
	is "$why" '' "killed at $kills of $calls calls"
}

# any_time CHOICES ARG...: the same of a process that is killed by others, sooner or later
any_time() {
	local choices=$1 why='' f pid wait
	shift
	for wait in 0.01 0.03 0.1; do
		for f in $images; do cp --sparse=always from/$f $f; done
		"$PLATTER" "$@" >/dev/null 2>&1 &
		pid=$!
		sleep $wait
		kill -9 $pid 2>/dev/null
		wait $pid 2>/dev/null
		why=$(survives $choices 2>&1) || { why="after $wait s: $why"; break; }
	done
	is "$why" '' "killed at any time: $*"
}

mkdir from
head -c 3000000 /dev/urandom >noise
for ((i = 0; i < 30; i++)); do
	dd if=noise bs=1k count=60 skip=$((i * 90)) seek=$((i * 256)) conv=notrunc of=disk 2>/dev/null
	dd if=noise bs=1k count=60 skip=$((i * 95)) seek=$((i * 230)) conv=notrunc of=disk2 2>/dev/null
done
truncate -s 8M disk disk2

# an image with a snapshot, and what is in it now
platter create -q -f qcow2 -o cluster_size=4k from/image 8M
platter convert -n -f raw -O qcow2 disk from/image
platter snapshot -c one from/image
as_raw from/image && mv got one.raw
platter convert -n -c -f raw -O qcow2 disk2 from/image
as_raw from/image && mv got before.raw
# an overlay, two files that may be below it, and what is in it
platter create -q -f qcow2 -o cluster_size=4k from/base 8M
platter convert -n -f raw -O qcow2 disk from/base
platter create -q -f qcow2 from/other 8M
platter convert -n -c -f raw -O qcow2 disk2 from/other
(cd from && platter create -q -f qcow2 -o cluster_size=4k -b base -F qcow2 top)
dd if=noise bs=1k count=900 skip=1000 of=part 2>/dev/null
platter convert -n -f raw -O qcow2 part from/top
(cd from && as_raw top && mv got ../top.raw)
truncate -s 8M zero

file=image images=image
killed 'before.raw disk zero' convert -n -f raw -O qcow2 disk image
killed 'before.raw disk zero' convert -n -c -f raw -O qcow2 disk image
killed 'before.raw' snapshot -c two image
killed 'before.raw one.raw' snapshot -a one image
killed 'before.raw' snapshot -d one image
killed 'before.raw' resize -q image +4M
killed 'before.raw' resize -q --shrink image 4M
killed 'before.raw' resize -q --preallocation=metadata image +4M
killed 'before.raw' resize -q --preallocation=full image +1M
killed 'before.raw' bitmap --add image b
killed 'before.raw' amend -o refcount_bits=64 image
killed 'before.raw' amend -o lazy_refcounts=on image
any_time 'before.raw disk zero' convert -n -r 10M -f raw -O qcow2 disk image
any_time 'before.raw' snapshot -c two image
any_time 'before.raw' resize -q --shrink image 4M
file=top images='top base other'
killed top.raw commit -q top
killed top.raw commit -q -d top
killed top.raw rebase -b other -F qcow2 top
killed top.raw rebase -b '' top
any_time top.raw commit -q -r 1M top
any_time top.raw rebase -b other -F qcow2 top
killed top.raw rebase -u -b base -F qcow2 top
# one that was killed before
file=image images=image
cp from/image image
(KILL_AT=60 exec "$suicide" convert -n -f raw -O qcow2 disk image) 2>/dev/null
cp image from/image
as_raw image && mv got before.raw
killed before.raw check -q -r all image
done_testing
