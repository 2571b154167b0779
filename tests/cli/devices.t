#!/bin/bash
# What is no regular file: FIFOs, sockets, folders and terminals are refused at once;
# character devices are empty; block devices are disks (loop devices, for root).
. "${0%/*}/../tap.sh"
skip_unless qemu-img python3
peer_version "$PEER"

loop=''
cleanup() { [ -z "$loop" ] || losetup -d "$loop"; }

# at_once CMD...: fails by itself, with one line on stderr
at_once() {
	run timeout -k 1 20 "$@"
	is "$rc/$(wc -l <"$T/.err")" 1/1 "refused at once: ${*:2}" || tap_show 1
}

mkfifo fifo
mkdir folder
python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("sock")'
ln -s nowhere dangling
ln -s round round
truncate -s 1M file

for what in fifo sock folder dangling round missing file/x ''; do
	at_once "$QIMG" info "$what"
	at_once "$QIMG" map -f raw "$what"
	at_once "$QIMG" convert -O raw "$what" out
done
for what in fifo sock folder round missing/x file/x; do
	at_once "$QIMG" create -f raw "$what" 1M
	at_once "$QIMG" convert -f raw -O raw file "$what"
done
ok -n 'no target was made' [ ! -e out ]
run "$QIMG" info fifo
is "$err" "qemu-img: Could not open 'fifo': 'file' driver requires 'fifo' to be a regular file, not a FIFO" \
	'a FIFO is called one'
is "$(ls -A)" "$(printf '%s\n' .err .out bin dangling fifo file folder round sock)" \
	'nothing is left behind'

# The peer's words where it has some.
twins
twin mkdir folder
twin ln -s round round
twin truncate -s 1000 odd
for what in folder round missing odd/x '' /dev/null /dev/zero null-co:// null-aio:// odd; do
	same_output info "$what"
done
for what in /dev/null /dev/zero odd; do
	same_output map --output=json -f raw "$what"
done
same_output create -f raw folder 1M
same_output create -f raw missing/x 1M
same_output create -f raw odd/x 1M
same_output create -f raw /dev/null 1M
same_output create -f raw /dev/null 0
same_output info 'json:{"driver":"file","filename":""}'
same_output info 'json:{"driver":"file"}'
same_output info 'json:{"driver":"host_device","filename":"odd"}'
same_output info 'json:{"driver":"file","filename":"odd","locking":"x"}'
same_output info 'json:{"driver":"file","filename":"odd","aio":"x"}'
same_output info 'json:{"driver":"file","filename":"odd","aio":"native"}'
same_output info 'json:{"driver":"file","filename":"odd","aio":"io_uring"}'
same_output info 'json:{"driver":"file","filename":"odd","foo":"x"}'
same_output info 'json:{"driver":"null-co","size":1000}'
same_output info null-co://x
same_output map --output=json 'json:{"driver":"null-co","read-zeroes":true,"size":1024}'

# A terminal.
run python3 -c '
import os, pty, subprocess, sys
try:
    m, s = pty.openpty()
except OSError:
    sys.exit(77)
r = subprocess.run([sys.argv[1], "info", os.ttyname(s)], capture_output=True, timeout=20)
sys.stdout.write(r.stderr.decode().replace(os.ttyname(s), "TTY"))
sys.exit(r.returncode)' "$QIMG"
if [ "$rc" = 77 ]; then
	skip 1 'no terminals here (/dev/pts)'
else
	is "$rc $out" "1 qemu-img: Could not open 'TTY': 'file' driver requires 'TTY' to be a regular file, not a terminal" \
		'a terminal is refused'
fi

need_loop
for sector in 512 4096; do
	truncate -s 3M disk
	loop=$(losetup -f --show --sector-size $sector disk) || skip_all 'no loop device is free'

	same_output -n "sectors of $sector: info" info "$loop"
	same_output -n "sectors of $sector: info --output=json" \
		-f 's/"filename": "\/dev[^"]*"/"filename": "DEV"/' info --output=json "$loop"
	same_output -n "sectors of $sector: map" map --output=json -f raw "$loop"
	same_output -n "sectors of $sector: too small" create -f raw "$loop" 4M
	ok -n "sectors of $sector: create raw" qimg create -f raw "$loop" 2M
	seq 1 400000 | head -c 2000000 >text
	for mode in writeback none directsync; do
		blkdiscard -z "$loop"
		ok -n "sectors of $sector: -t $mode, to the disk" \
			qimg convert -t $mode -f raw -O raw text "$loop"
		ok -n 'and it is there' cmp -n 2000000 text "$loop"
		ok -n "sectors of $sector: -T $mode, from the disk" \
			qimg convert -T $mode -f raw -O raw "$loop" back
		ok -n 'and it is the same' cmp "$loop" back
	done
	ok -n "sectors of $sector: the peer puts a qcow2 image there" \
		peer convert -f raw -O qcow2 text "$loop"
	same_output -n "sectors of $sector: qcow2 on a disk" map --output=json "$loop"
	same_output -n "sectors of $sector: check it" check "$loop"
	ok -n "sectors of $sector: convert it to raw" qimg convert -O raw "$loop" back
	ok -n 'and it is the same' cmp -n 2000000 text back
	losetup -d "$loop"
	loop=''
	rm disk
done
done_testing
