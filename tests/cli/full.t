#!/bin/bash
# Targets that there is no room for: one line that says so, exit code 1, and nothing left
# under the name or beside it; an image that is written in place stays sound.
if [ -z "${IN_NAMESPACE:-}" ]; then
	# mounts of our own, which go away with us
	how=-m
	[ "$(id -u)" = 0 ] || how=-Urm
	unshare $how true 2>/dev/null && IN_NAMESPACE=1 exec unshare $how bash "$0"
fi
. "${0%/*}/../tap.sh"

head -c 6M /dev/urandom >disk
mkdir full
loop=''
cleanup() {
	umount full 2>/dev/null
	[ -z "$loop" ] || losetup -d "$loop" 2>/dev/null
}

told() { # TITLE: after run
	is "$rc $(wc -l <"$T/.err")" '1 1' "$1: exit 1, one line" || tap_show 1
	like "$err" "$no_room" "$1: it says why"
}
no_room='No space left on device|too large'

targets=('-O raw' '-O qcow2' '-c -O qcow2' '-O raw -o preallocation=full'
	'-O raw -o preallocation=falloc' '-O qcow2 -o preallocation=full'
	'-O qcow2 -o preallocation=falloc' '-t none -O qcow2' '-t directsync -O raw'
	'-W -m 8 -O qcow2' '-S 0 -O raw' '-C -O raw' '-O qcow2 -o cluster_size=512'
	'-O qcow2 -o extended_l2=on,cluster_size=2M')
fill() { # in the folder full
	local a left
	left=$(ls -A full)
	for a in "${targets[@]}"; do
		for who in platter qimg; do
			# shellcheck disable=SC2086
			run $who convert -f raw $a disk full/out
			[[ $err != *'does not support O_DIRECT'* ]] || continue
			told "$1: $who $a"
			is "$(ls -A full)" "$left" 'nothing is left'
		done
		echo old >full/out
		# shellcheck disable=SC2086
		run platter convert -f raw $a disk full/out
		[[ $err != *'does not support O_DIRECT'* ]] || continue
		is "$rc $(cat full/out)" '1 old' 'what was there before stays'
		rm -f full/out
	done
	run platter convert -f raw -O qcow2 -o data_file=full/data disk outside
	told "$1: a data file"
	is "$(ls -A full)" "$left" 'nothing is left of it'
	ok -n 'nor of its image' [ ! -e outside ]
	run platter convert -f raw -O qcow2 -o data_file=ext,preallocation=metadata disk full/out
	[ $rc = 0 ] || told "$1: an image with a data file"
	rm -f full/out ext
	for a in '-f raw -o preallocation=full' '-f qcow2 -o preallocation=full' \
		'-f qcow2 -o preallocation=falloc'; do
		# shellcheck disable=SC2086
		run platter create -q $a full/out 6M
		told "$1: create $a"
		is "$(ls -A full)" "$left" 'nothing is left'
	done
}
# An image that is there: written until there is no room, then again with room.
in_place() {
	local o
	for o in cluster_size=64k cluster_size=512 extended_l2=on refcount_bits=64; do
		platter create -q -f qcow2 -o "$o" full/image 6M
		run platter convert -n -f raw -O qcow2 disk full/image
		told "$1: into an image, $o"
		run qimg check full/image
		like "$rc" '^[03]$' 'which is sound, but for leaks'
		rm -f full/image
	done
}

if [ -n "${IN_NAMESPACE:-}" ] && mount -t tmpfs -o size=2M none full 2>/dev/null; then
	fill tmpfs
	in_place tmpfs
	umount full
else
	skip 1 'no tmpfs can be mounted here'
fi

truncate -s 4M fs
if command -v mke2fs >/dev/null && mke2fs -q -t ext4 -m 0 -O ^has_journal fs &&
	loop=$(losetup -f --show fs 2>/dev/null) && mount "$loop" full 2>/dev/null; then
	fill ext4
	in_place ext4
	umount full
else
	skip 1 'no ext4 can be mounted here'
fi
[ -z "$loop" ] || losetup -d "$loop"
loop=''

# The limit on the size of files: the signal must not end us.
limited() { (ulimit -f 2048 && exec "$@"); }
for a in "${targets[@]}"; do
	# shellcheck disable=SC2086
	run limited "$PLATTER" convert -f raw $a disk full/out
	[[ $err != *'does not support O_DIRECT'* ]] || continue
	told "ulimit -f: $a"
	is "$(ls -A full)" '' 'nothing is left'
done

# Little memory. What callers give has to do; with less, an error and no target.
space() { (ulimit -v "$1" && shift && exec "$@"); }
if [ -z "$SANITIZED" ]; then
	for a in '-O raw' '-O qcow2' '-c -O qcow2' '-O qcow2 -o cluster_size=2M,extended_l2=on' \
		'-c -O qcow2 -o cluster_size=2M' '-W -O qcow2'; do
		# shellcheck disable=SC2086
		ok -n "in 1 GiB of address space: $a" \
			space 1048576 "$PLATTER" convert -m 16 -f raw $a disk full/out
		ok -n 'and back' space 1048576 "$PLATTER" convert -m 16 -O raw full/out full/back
		ok -n 'it is the same' cmp disk full/back
		rm -f full/*
	done
	for kib in 30000 20000 12000; do
		# shellcheck disable=SC2086
		run space $kib "$PLATTER" convert -m 16 -c -f raw -O qcow2 disk full/out
		if [ $rc = 0 ]; then
			ok -n "in $kib KiB: sound" platter check -q full/out
			rm -f full/out
		else
			is "$rc $(ls -A full)" '1 ' "in $kib KiB: an error, nothing is left"
		fi
	done
fi
done_testing
