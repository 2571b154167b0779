#!/bin/bash
# What changes an image in place is kept out while another program has it open; under our
# own name it says which. And while we are at it, others are kept out.
. "${0%/*}/../tap.sh"
skip_unless qemu-img qemu-io
peer_version "$PEER"
[ -r /proc/locks ] || skip_all 'no /proc/locks'

holder=''
cleanup() { release; }

# hold FILE ARG...: qemu-io has it open until release
hold() {
	local i
	(exec qemu-io -c 'sleep 600000' "${@:2}" "$1" >/dev/null 2>&1 </dev/null) &
	holder=$!
	for ((i = 0; i < 300; i++)); do
		grep -q "OFDLCK.*:$(stat -c %i "$1") " /proc/locks && return
		kill -0 $holder 2>/dev/null || break
		sleep 0.1
	done
	fail "qemu-io holds $1"
}

release() {
	[ -n "$holder" ] || return 0
	kill $holder 2>/dev/null
	wait $holder 2>/dev/null
	holder=''
}

peer create -q -f raw base.raw 1M
peer create -q -f qcow2 -b base.raw -F raw disk 1M
peer create -q -f raw raw 1M
cp disk copy

for mode in '' -r; do
	# shellcheck disable=SC2086
	hold disk $mode -f qcow2
	for c in 'resize disk 2M' 'resize --shrink disk -512k' 'amend -o compat=0.10 disk' \
		'commit disk' 'rebase -u -b base.raw -F raw disk'; do
		# shellcheck disable=SC2086
		exits 1 -n "$c, ${mode:-write}" platter $c
		like "$err" 'Failed to get "write" lock' "$c: refused"
		like "$err" "It is open in qemu-io \(pid $holder\)\.\$" "$c: says by whom"
		[[ $c = rebase* || $c = commit* ]] && continue
		# shellcheck disable=SC2086
		run peer $c
		want="$rc $err"
		# shellcheck disable=SC2086
		run qimg $c
		is "$rc $err" "$want" "$c: the peer's words under its name"
	done
	release
done
ok -n 'nothing was changed' cmp disk copy
ok platter amend -q -o compat=0.10 disk

# The peer lets a raw image be resized while an image tool writes it.
hold raw -f raw
exits 1 platter resize -f raw raw 2M
like "$err" "It is open in qemu-io \(pid $holder\)\.\$" 'raw: says by whom'
ok qimg resize -q -f raw raw 2M
release
ok platter resize -q -f raw raw 3M

# who only has the file open is named where nobody's lock can be seen
hold disk -r -f qcow2
exec 9<disk
exits 1 platter resize disk 2M
like "$err" "It is open in qemu-io \(pid $holder\)\.\$" 'who has the lock is named'
exec 9<&-
release

# The other way: we hold it.
stuck='json:{"driver":"raw","file":{"driver":"null-co","size":"1M","latency-ns":600000000000}}'
"$PLATTER" convert -n -f raw -O qcow2 "$stuck" disk >/dev/null 2>&1 &
holder=$!
for ((i = 0; i < 300; i++)); do
	grep -q "OFDLCK.*:$(stat -c %i disk) " /proc/locks && break
	sleep 0.1
done
exits 1 peer resize disk 2M
exits 1 peer amend -o compat=1.1 disk
exits 1 qemu-io -f qcow2 -c 'read 0 1' disk
exits 1 platter resize disk 2M
like "$err" "It is open in platter \(pid $holder\)\.\$" 'we name ourselves, too'
release
done_testing
