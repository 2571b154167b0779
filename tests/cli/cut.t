#!/bin/bash
# Images that were cut off: whoever reads them says so in one line, or has found all of the
# disk. Nothing crashes, and no target is left.
if [ -z "${IN_NAMESPACE:-}" ]; then
	# mounts of our own, which go away with us
	unshare -m true 2>/dev/null && IN_NAMESPACE=1 exec unshare -m bash "$0"
fi
. "${0%/*}/../tap.sh"

{
	head -c 300k /dev/urandom
	seq 1 30000
	head -c 300k /dev/zero
	seq 1 30000
	head -c 200k /dev/urandom
} >disk
platter convert -q -f raw -O qcow2 disk plain
platter convert -q -f raw -O qcow2 -o compat=0.10,cluster_size=512 disk small
platter convert -q -f raw -O qcow2 -o extended_l2=on,cluster_size=16k disk parts
platter convert -q -f raw -O qcow2 -c disk packed
platter convert -q -f raw -O qcow2 -c -o compression_type=zstd disk zstd ||
	platter convert -q -f raw -O qcow2 -c disk zstd
platter convert -q -f raw -O qcow2 disk base
cp base short
platter create -q -f qcow2 -b short -F qcow2 over_short

# fails IMAGE CMD...: counts, rather than one test for each of some thousand runs
bad=''
runs=0
note() { bad+="$1
"; }
once() {
	local limit=$1 lines
	shift
	run qimg "$@"
	runs=$((runs + 1))
	lines=$(wc -l <"$T/.err")
	[ $rc -le "$limit" ] || [ $rc = 63 ] || note "$at: $*: exit code $rc"
	# of a difference, and of what check finds, stdout and more lines tell
	[ $rc = 0 ] || [ "$lines" = 1 ] || [ "$1" = check ] || [ "$1/$rc" = compare/1 ] ||
		note "$at: $*: $lines lines"
	[ $rc != 0 ] || [ "$lines" = 0 ] || [ "$1" = check ] || note "$at: $*: a warning"
}
all_of() { # IMAGE ARG...
	once 1 info "${@:2}" "$1"
	once 1 map --output=json "${@:2}" "$1"
	once 3 check "${@:2}" "$1"
	once 1 measure -O raw "${@:2}" "$1"
	once 4 compare "${@:2}" -F raw "$1" disk
}
converts() { # IMAGE ARG...: all or nothing
	once 1 convert -O raw "${@:2}" "$1" out
	if [ $rc = 0 ]; then
		# what is missing of the last cluster cannot be told
		cmp -s disk out || [ "$last" = 1 ] || note "$at: converted to something else"
	else
		[ ! -e out ] || note "$at: a target is left"
	fi
	rm -f out
}

for i in plain small parts packed zstd; do
	end=$(stat -c %s $i)
	bad='' runs=0
	for n in 0 3 4 71 72 104 112 512 1024 65536 131072 196608 196616 \
		262144 262145 327679 327680 400000 $((end / 2)) $((end / 2 + 1)) \
		$((end - 140000)) $((end - 513)) $((end - 1)); do
		[ $n -lt "$end" ] || continue
		at="$i cut at $n of $end"
		head -c $n $i >short
		last=0
		[ $n -lt $((end - 65536)) ] || last=1
		all_of short -f qcow2
		converts short -f qcow2
	done
	is "$bad" '' "$i, cut off at many places"
	ok -n "$i: all of that was run" [ $runs -gt 120 ]
done

# As a backing file.
bad=''
for n in 0 50 112 70000 200000 262144 327680 400000 600000; do
	at="a backing file cut at $n"
	head -c $n base >short
	last=0
	once 1 map over_short
	converts over_short
done
is "$bad" '' 'a backing file, cut off'

# In words.
head -c 400000 plain >short
exits 1 qimg convert -O raw short out
is "$err" "qemu-img: error while reading at byte 0: short: its data at offset 458752 is beyond \
the end of the file (400000 bytes); --salvage takes it for zeros" 'what is missing is said'
ok -n '--salvage takes what is there' qimg convert -q --salvage -O raw short out
ok -n 'and it is right' cmp -n $((400000 - 327680)) disk out
is "$(stat -c %s out)" $((($(stat -c %s disk) + 511) / 512 * 512)) 'and the disk is as long'
head -c 300000 plain >short
exits 1 qimg map short
like "$err" 'beyond the end of the file \(300000 bytes\)' 'so is a table that is missing'
head -c 60 plain >short
exits 1 qimg convert -O raw short out
is "$(wc -l <"$T/.err")" 1 'an image of 60 bytes'
# Where the kernel shares blocks, data is only looked at: for zeros, as what is missing.
truncate -s 320M xfs.img
mkdir xfs
if [ -n "${IN_NAMESPACE:-}" ] && command -v mkfs.xfs >/dev/null &&
	mkfs.xfs -q -m reflink=1 xfs.img 2>/dev/null && mount -o loop xfs.img xfs 2>/dev/null; then
	cp disk xfs/
	cd xfs || exit 1
	for f in raw qcow2; do
		platter convert -q -f raw -O qcow2 disk image
		end=$(stat -c %s image)
		for n in $((end - 65536)) $((end - 131072)) $((end / 2 / 65536 * 65536)) 400000; do
			head -c $n image >short
			exits 1 -n "on XFS, cut at $n, to $f" platter convert -q -O $f short out
			like "$err" 'beyond the end of the file' 'it says why'
			ok -n 'no target is left' [ ! -e out ]
		done
	done
	cd ..
	umount xfs
else
	skip 1 'no XFS can be mounted here'
fi
done_testing
