#!/bin/bash
# Locks on image files, as the peer's programs take and see them: what they hold keeps
# us out with their words, what we hold keeps them out, and -U reads beside both.
. "${0%/*}/../tap.sh"
skip_unless qemu-img qemu-io
peer_version "$PEER"
peer_version qemu-io
[ -r /proc/locks ] || skip_all 'no /proc/locks'

holder=''
cleanup() { release; }

# bytes FILE: the bytes of FILE on which somebody holds a lock
bytes() {
	local inode
	inode=$(stat -Lc %i "$1")
	awk -v inode=":$inode" '$2 == "OFDLCK" && substr($6, length($6) - length(inode) + 1) == inode {
		for (i = $7; i <= $8; i++) print i }' /proc/locks | sort -nu | paste -sd ' '
}

# hold FILE BYTES CMD...: runs CMD until it has BYTES of FILE locked, and leaves it running
hold() {
	local file=$1 want=$2 i
	shift 2
	"$@" >/dev/null 2>"$T/holder.err" </dev/null &
	holder=$!
	for ((i = 0; i < 300; i++)); do
		[ "$(bytes "$file")" = "$want" ] && break
		kill -0 $holder 2>/dev/null || break
		sleep 0.1
	done
	is "$(bytes "$file")" "$want" "bytes that $(basename "$1") ${*:2:$#-2} locks" ||
		diag "$(cat "$T/holder.err")"
}

release() {
	[ -n "$holder" ] || return 0
	kill $holder 2>/dev/null
	wait $holder 2>/dev/null
	holder=''
}

peer_io() { exec qemu-io -c 'sleep 600000' "$@"; }

# same ARG...: ours and the peer's qemu-img complain of the same and exit alike
same() {
	local e c
	run peer "$@"
	e=$err c=$rc
	run qimg "$@"
	is "$rc $err" "$c $e" "as the peer: $* -> $c"
}

# A disk that is read so slowly that whoever reads it holds all else for long.
slow='json:{"driver":"raw","file":{"driver":"null-co","size":"8G","latency-ns":200000000}}'
stuck='json:{"driver":"raw","file":{"driver":"null-co","size":"1M","latency-ns":600000000000}}'

peer create -q -f qcow2 q.qcow2 1M
peer create -q -f raw r.raw 1M
peer create -q -f qcow2 -b q.qcow2 -F qcow2 over.qcow2
qemu-io -f raw -c 'write -P 1 0 64k' r.raw >/dev/null
cp q.qcow2 q.copy

# They write, we ask.
hold q.qcow2 '100 101 103 201 203' peer_io -f qcow2 q.qcow2
same info q.qcow2
same info -f qcow2 --output=json q.qcow2
same map q.qcow2
same check q.qcow2
same compare q.qcow2 r.raw
same measure -O raw q.qcow2
same convert -O raw q.qcow2 new.raw
same convert -f raw -O qcow2 r.raw q.qcow2
same convert -f raw -O raw r.raw q.qcow2
same convert -n -f raw -O qcow2 r.raw q.qcow2
same create -f qcow2 q.qcow2 1M
same create -f raw q.qcow2 1M
same map over.qcow2
same info over.qcow2
same info --backing-chain over.qcow2
same info -U q.qcow2
same info --force-share --backing-chain over.qcow2
same map -U --output=json q.qcow2
same convert -U -O raw q.qcow2 new.raw
same compare -U q.qcow2 q.copy
same info 'json:{"driver":"qcow2","file":{"driver":"file","filename":"q.qcow2"}}'
same info 'json:{"driver":"qcow2","file":{"driver":"file","filename":"q.qcow2","locking":"off"}}'
same map --image-opts driver=qcow2,file.driver=file,file.filename=q.qcow2,file.locking=on
same map --image-opts driver=qcow2,force-share=on,file.driver=file,file.filename=q.qcow2
same map -f raw q.qcow2
release
ok -n 'nothing was changed' cmp q.qcow2 q.copy

# They read, we ask.
hold q.qcow2 '100 201 203' peer_io -r -f qcow2 q.qcow2
same map q.qcow2
same info q.qcow2
same check q.qcow2
same convert -f raw -O qcow2 r.raw q.qcow2
same convert -n -f raw -O raw r.raw q.qcow2
same create -f qcow2 q.qcow2 1M
release
ok -n 'nothing was changed' cmp q.qcow2 q.copy

# A virtual machine's raw disk lets nobody else write, an image tool's does.
hold r.raw '100 101' peer_io -f raw r.raw
same info -f raw r.raw
same map -f raw r.raw
same compare -f raw -F raw r.raw r.raw
same convert -f raw -O raw r.raw new.raw
release

# We read, they ask.
hold q.qcow2 '100 201 203' "$QIMG" compare -F qcow2 "$slow" q.qcow2
exits 1 peer convert -n -f raw -O qcow2 r.raw q.qcow2
is "$err" 'qemu-img: Could not open '\''q.qcow2'\'': Failed to get "write" lock
Is another process using the image [q.qcow2]?' 'their writer is kept out by our reader'
ok peer map q.qcow2
exits 1 peer resize -f qcow2 q.qcow2 2M
exits 1 qimg convert -n -f raw -O qcow2 r.raw q.qcow2
release

# We read beside a writer of our own.
hold q.qcow2 '100' "$QIMG" compare -U -F qcow2 "$slow" q.qcow2
ok qemu-io -f qcow2 -c 'write 0 64k' q.qcow2
release

# We write, they ask.
hold q.qcow2 '100 101 103 201 203' "$QIMG" convert -n -f raw -O qcow2 \
	"$stuck" q.qcow2
exits 1 peer map q.qcow2
is "$err" 'qemu-img: Could not open '\''q.qcow2'\'': Failed to get shared "write" lock
Is another process using the image [q.qcow2]?' 'their reader is kept out by our writer'
exits 1 peer convert -n -f raw -O qcow2 r.raw q.qcow2
exits 1 peer create -f raw q.qcow2 1M
exits 1 qemu-io -f qcow2 -c 'read 0 1' q.qcow2
ok peer info -U q.qcow2
ok qemu-io -r -U -f qcow2 -c 'read 0 1' q.qcow2
release

# The source of a convert, and a raw target.
hold r.raw '100 201 203' "$QIMG" convert -O raw r.raw "$slow" r2.raw
exits 1 qemu-io -f raw -c 'write 0 1' r.raw
release

done_testing
