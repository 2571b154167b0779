#!/bin/bash
# convert from every format into every format that this build can make: the contents are the
# same to the peer, and what the target cannot hold is an error before its first byte.
. "${0%/*}/../tap.sh"
. "$TOP/tests/interop/kit.sh"
skip_unless qemu-img python3
peer_version qemu-img

# ---- what can be made: the list grows by itself --------------------------------------------
mapfile -t formats < <(platter --help | sed -n '/^Supported formats:/,/^[^ S]/p' |
	sed 's/^Supported formats://; /^[^ ]/d' | tr -s ' ' '\n' | sort -u)
can=()
for f in "${formats[@]}"; do
	case $f in '' | file | host_device) continue ;; esac
	platter create -q -f "$f" probe 1M 2>/dev/null && can+=("$f")
	rm -rf probe*
done
diag "formats: ${can[*]}"
like " ${can[*]} " ' qcow2 .*raw .*vdi ' 'there are formats'

# options that keep a size what it is
options() { case $1 in vpc) echo '-o force_size=on' ;; esac; }
# what the peer calls it
of_peer() { case $1 in raw) echo raw ;; *) echo "$1" ;; esac; }

# ---- between any two ------------------------------------------------------------------------
noise disk 5242880
printf tail | dd of=disk bs=1 seek=5242000 conv=notrunc status=none
for a in "${can[@]}"; do
	# shellcheck disable=SC2046
	peer convert -f raw -O "$a" $(options "$a") disk "from.$a" 2>/dev/null ||
		platter convert -q -f raw -O "$a" $(options "$a") disk "from.$a"
	for b in "${can[@]}"; do
		# shellcheck disable=SC2046
		run platter convert -f "$a" -O "$b" $(options "$b") "from.$a" "to.$b"
		is "$rc:$err$out" 0: "$a to $b"
		# shellcheck disable=SC2046
		ok -n "$a to $b: the same to the peer" \
			peer compare -f raw -F "$(of_peer "$b")" disk "to.$b"
		rm -f "to.$b"
	done
	rm -f "from.$a"
done

# sizes that are no multiple of anything; of none at all, what the peer can make
for b in "${can[@]}"; do
	for s in 0 1 511 513 1048577; do
		rm -f small
		head -c $s disk >small
		# shellcheck disable=SC2046
		run platter convert -f raw -O "$b" $(options "$b") small "to.$b"
		if [ "$s,$rc" = 0,1 ]; then
			nok -n "nothing as $b: nor can the peer" peer convert -f raw -O "$b" small to.peer
		else
			is "$rc:$err$out" 0: "$s bytes to $b"
			ok -n "$s bytes to $b and back" platter convert -q -f "$b" -O raw "to.$b" back
			ok -n 'are what they were' cmp -n $s small back
		fi
		rm -f "to.$b" to.peer back
	done
done

# ---- sizes --------------------------------------------------------------------------------------
# a disk of nothing, as large as one likes
nothing() { echo "json:{\"driver\":\"raw\",\"file\":{\"driver\":\"null-co\",\"size\":\"$1\",\"read-zeroes\":true}}"; }
limited() { (ulimit -f 100000 && exec timeout 60 "$@"); } # so that no table fills the disk
kept() { # NAME: old is what it was
	is "$(sha256sum <old; stat -c %i old)" "$before" "$1: the old target is untouched"
	is "$(find . -name 'new*' -o -name '.*.platter-*')" '' "$1: nothing is left"
	[ "$(sha256sum <old; stat -c %i old)" = "$before" ] || renew
}
renew() {
	rm -f old
	echo 'what was there' >old
	before=$(sha256sum <old; stat -c %i old)
}
renew
for f in "${can[@]}"; do
	refused=0
	for s in 513T 8192T 9223372036854774784; do
		run limited "$PLATTER" convert -f raw -O "$f" "$(nothing $s)" new
		if [ "$rc" = 0 ]; then
			is "$(limited "$PEER" info -f "$f" --output json new | sed -n 's/.*"virtual-size": \([0-9]*\),/\1/p' | head -n 1)" \
				"$(numfmt --from=iec $s)" "$f of $s: made, and the peer sees its size"
			rm -f new*
			continue
		fi
		refused=$((refused + 1))
		is "$rc,$(wc -l <.err)" 1,1 "$f of $s: refused in one line"
		like "$err" '[Ll]arge|size|exceed|maxim|many|at most' "$f of $s: for its size"
		kept "$f of $s"
		nok -n "$f of $s: over an old file" limited "$PLATTER" convert -f raw -O "$f" "$(nothing $s)" old
		kept "$f of $s over a file"
		# under the peer's name the old file is emptied in place - but not before this; what
		# only the file system does not take is found out later
		[[ $err == *'File too large'* || $f = raw ]] && continue
		nok -n "$f of $s: as qemu-img" limited "$QIMG" convert -f raw -O "$f" "$(nothing $s)" old
		kept "$f of $s as qemu-img"
	done
	isnt $refused 0 "$f has a limit"
done

# ---- what a format does not know ------------------------------------------------------------------
refuse() { # FORMAT WHAT MESSAGE ARG...
	local f=$1 what=$2 text=$3
	shift 3
	exits 1 -n "$f: $what" platter convert -O "$f" "$@" old
	like "$err" "$text" "$f: $what: why"
	kept "$f: $what"
	[ -n "${only_ours:-}" ] && return
	exits 1 -n "$f: $what, as qemu-img" qimg convert -O "$f" "$@" old
	kept "$f: $what as qemu-img"
}
peer create -q -f qcow2 base.qcow2 5M
peer snapshot -c snap base.qcow2
for f in "${can[@]}"; do
	help=$(platter create -f "$f" -o help)
	refuse "$f" 'an option that it does not know' 'Invalid parameter' -f raw -o nosuch=1 disk
	[[ $help == *backing_file=* ]] ||
		refuse "$f" 'a backing file' 'not support' -B base.qcow2 -F qcow2 -f raw disk
	[[ $help == *preallocation=* ]] &&
		refuse "$f" 'no such preallocation' 'reallocation|nvalid|accept' -f raw -o preallocation=nosuch disk
	[[ $help == *encrypt* ]] &&
		refuse "$f" 'encryption without a key' 'ncrypt' -f raw -o encryption=on disk
	peer convert -c -f raw -O "$f" disk packed 2>/dev/null && only_ours=1
	platter convert -q -c -f raw -O "$f" disk packed 2>/dev/null ||
		refuse "$f" 'compression' 'ompress' -c -f raw disk
	rm -f packed
	only_ours=
	refuse "$f" 'a snapshot that is not there' 'snapshot' -l nosuch -f qcow2 base.qcow2
	# the peer looks when it has made the target
	[ "$f" = qcow2 ] ||
		only_ours=1 refuse "$f" 'bitmaps' 'itmap' --bitmaps -f qcow2 base.qcow2
done

# ---- a target that is there and too small ------------------------------------------------------------
truncate -s 1M small
sum=$(sha256sum <small)
exits 1 platter convert -n -f raw -O raw disk small
like "$err" 'smaller than input' 'a target that is too small'
is "$(sha256sum <small)" "$sum" 'is untouched'

done_testing
