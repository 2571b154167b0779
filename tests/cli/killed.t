#!/bin/bash
# shellcheck disable=SC2086
# A convert that is ended by a signal: its exit status says so, and it leaves nothing under
# the name nor beside it; an image that is written in place stays sound.
if [ -z "${IN_NAMESPACE:-}" ]; then
	# mounts of our own, which go away with us
	how=-m
	[ "$(id -u)" = 0 ] || how=-Urm
	unshare $how true 2>/dev/null && IN_NAMESPACE=1 exec unshare $how bash "$0"
fi
. "${0%/*}/../tap.sh"

head -c 3M /dev/urandom >disk
loop=''
cleanup() {
	umount at 2>/dev/null
	[ -z "$loop" ] || losetup -d "$loop" 2>/dev/null
}

# open_by PID FILE: it has FILE open
open_by() { readlink "/proc/$1/fd"/* 2>/dev/null | grep -qF -- "$2"; }

# ended SIGNAL CMD...: at work on `disk` and a target (and $until, a command, is true), slow
# enough for that; $rc is its exit status as a shell sees it
until=true
ended() {
	local sig=$1 pid
	shift
	# a shell starts what is in the background with SIGINT ignored
	env --default-signal=INT "$@" >"$T/.out" 2>"$T/.err" </dev/null &
	pid=$!
	for _ in $(seq 600); do
		open_by $pid "$PWD/disk" && open_by $pid "$PWD/at/" && $until && break
		sleep 0.02
	done
	kill -"$sig" $pid
	rc=0
	wait $pid 2>/dev/null || rc=$?
}

# each SIGNAL...: in the folder `at`
each() {
	local sig a
	for sig; do
		for a in '-O raw' '-c -O qcow2' '-O qcow2 -o data_file=at/data' \
			'-W -m 4 -O qcow2' '-O raw -S 0 -m 1'; do
			ended $sig "$PLATTER" convert -r 64k -f raw $a disk at/out 2>/dev/null
			is "$rc $(cat "$T/.err")" "$((128 + $(kill -l $sig))) " \
				"SIG$sig, $fs: convert $a"
			is "$(ls -A at)" '' 'nothing is left'
		done
		echo old >at/out
		ended $sig "$PLATTER" convert -r 64k -f raw -O qcow2 disk at/out 2>/dev/null
		is "$(cat at/out)" old "SIG$sig, $fs: what was there before stays"
		rm -f at/*
	done
}

# nameless files need no cleaning up: nothing is left even by SIGKILL
mkdir at
fs='this folder'
each INT TERM HUP
if python3 -c 'import os, sys; os.open("at", os.O_TMPFILE | os.O_RDWR)' 2>/dev/null; then
	each KILL
else
	skip 1 'no nameless files here'
fi

# a file system without them
truncate -s 16M fat
if [ -n "${IN_NAMESPACE:-}" ] && command -v mkfs.fat >/dev/null && mkfs.fat fat >/dev/null &&
	loop=$(losetup -f --show fat 2>/dev/null) && mount -t vfat "$loop" at 2>/dev/null; then
	fs=FAT
	each INT TERM
	ended KILL "$PLATTER" convert -r 64k -f raw -O qcow2 disk at/out 2>/dev/null
	ok -n 'SIGKILL, FAT: nothing under the name' [ ! -e at/out ]
	umount at
else
	skip 1 'no FAT can be mounted here'
fi
[ -z "$loop" ] || losetup -d "$loop"
loop=''
rm -rf at
mkdir at

# In place. The image is sound but for leaks, and what else is in it stays.
for sig in INT TERM KILL; do
	for o in cluster_size=64k extended_l2=on cluster_size=512; do
		platter create -q -f qcow2 -o $o at/image 8M
		platter convert -n -f raw -O qcow2 disk at/image
		head -c 3M /dev/urandom >disk2
		mv disk2 disk
		ended $sig "$PLATTER" convert -n -r 64k -f raw -O qcow2 disk at/image 2>/dev/null
		is $rc $((128 + $(kill -l $sig))) "SIG$sig: into an image, $o"
		run qimg check at/image
		like $rc '^[03]$' 'which is sound, but for leaks'
		ok -n 'and can be read' qimg convert -O raw at/image back
		ok -n 'and written again' platter convert -n -f raw -O qcow2 disk at/image
		ok -n 'to the end' qimg convert -O raw at/image back
		ok -n 'it is right' cmp -n 3145728 disk back
		rm -f at/image
	done
done
# With lazy reference counts it is left dirty, and says so.
platter create -q -f qcow2 -o lazy_refcounts=on at/image 8M
dirty() { [ "$(od -An -tu1 -j 79 -N 1 at/image)" -eq 1 ]; }
until=dirty
ended TERM "$PLATTER" convert -n -r 64k -f raw -O qcow2 disk at/image 2>/dev/null
is $rc 143 'SIGTERM: into an image with lazy reference counts'
ok -n 'it can be read' qimg convert -O raw at/image back
ok -n 'who writes on repairs it' platter convert -n -f raw -O qcow2 disk at/image
ok -n 'to the end' qimg convert -O raw at/image back
ok -n 'it is right' cmp -n 3145728 disk back
exits 0 platter check at/image
done_testing
