#!/bin/bash
# convert: what is ours alone - names, refusals, and that nothing is left by halves.
. "${0%/*}/../tap.sh"

head -c 3M /dev/urandom >data
truncate -s 8M data
nothing() { # NAME...: nothing was left of it
	is "$(find . -name "$1*" -o -name ".$1*.platter-*" | sort)" '' "nothing is left of $1"
}

# ---- the format that the name tells --------------------------------------------------------
ok platter convert -f raw data image.qcow2
is "$err" 'platter: writing qcow2, from the name'\''s extension (-O to choose)' 'it is said'
exits 1 platter convert data target.wim
like "$err" 'cannot write .wim files' 'a name that promises another format is not made raw'
ok -n 'and nothing is there' test ! -e target.wim
is "$(head -c 4 image.qcow2 | od -An -tx1)" ' 51 46 49 fb' 'and done'
is "$out" '' 'nothing on stdout'
ok platter convert -q image.qcow2 back.raw
is "$err" '' '-q says nothing'
ok cmp data back.raw
ok qimg convert -f raw data other.qcow2
is "$err" '' 'under the name qemu-img nothing is said'
ok -n 'and it is raw' cmp data other.qcow2
ok platter convert -O qcow2 -f raw data image.raw
is "$err$out" '' '-O wins in silence'
is "$(head -c 4 image.raw | od -An -tx1)" ' 51 46 49 fb' 'over the name'
rm -f image.raw other.qcow2 back.raw

# ---- the same bytes with any number of threads ------------------------------------------------
for o in '' -c '-S 0' "-c -o compression_type=$ZSTD" '-o extended_l2=on,cluster_size=128k'; do
	for m in 1 2 5 16; do
		# shellcheck disable=SC2086
		platter convert -m $m $o -f raw -O qcow2 data m$m || fail "-m $m $o"
	done
	for m in 2 5 16; do
		ok -n "-m $m gives what -m 1 gives: $o" cmp m1 m$m
	done
	rm -f m1 m2 m5 m16
done

# ---- refused in clear words --------------------------------------------------------------------
exits 1 platter convert --bitmaps -O raw image.qcow2 out.raw
like "$err" 'does not support bitmaps' '--bitmaps'
nothing out
exits 1 platter convert -l snap image.qcow2 out.qcow2
like "$err" 'snapshot' '-l'
nothing out
exits 1 platter convert --object secret,id=a image.qcow2 out.qcow2
like "$err" "'file' or 'data'" '--object'
nothing out
exits 1 platter convert -c -f raw -O qcow2 -o data_file=out.d data out
like "$err" 'data file' '-c into an external data file'
nothing out
exits 1 platter convert -B data -F raw --target-is-zero -n data image.qcow2
like "$err" 'target-is-zero' '--target-is-zero with a backing file'
exits 1 platter convert -f raw -O nosuch data out
nothing out

# ---- an old target is kept until the new one is complete ------------------------------------------
echo precious >out.raw
exits 1 platter convert -q -f raw -O raw -t none-such data out.raw
is "$(cat out.raw)" precious 'a bad option leaves the old target alone'
(
	ulimit -f 2048
	exec "$PLATTER" convert -q -f raw -O raw data out.raw 2>"$T/.err"
)
is $? 1 'no room: exit 1'
isnt "$(cat "$T/.err")" '' 'and an error'
is "$(cat out.raw)" precious 'and the old target is as it was'
is "$(find . -name '.*.platter-*')" '' 'no hidden file'
# a source that is damaged in the middle
ok platter convert -c -f raw -O qcow2 data packed.qcow2
size=$(stat -c %s packed.qcow2)
head -c 64k /dev/urandom | dd of=packed.qcow2 bs=1 seek=$((size / 2)) conv=notrunc status=none
run platter convert -q -f qcow2 -O raw packed.qcow2 out.raw
if [ $rc != 0 ]; then
	is "$(cat out.raw)" precious 'a damaged source leaves the old target alone'
else
	pass 'what was overwritten was not compressed'
fi
for sig in INT TERM HUP; do
	"$PLATTER" convert -q -r 512k -f raw -O raw data out.raw &
	pid=$!
	# it is at work when the source is open
	for _ in $(seq 1200); do
		readlink /proc/$pid/fd/* 2>/dev/null | grep -q '/data$' && break
		sleep 0.05
	done
	kill -$sig $pid
	{ wait $pid; } 2>/dev/null
	got=$?
	# a shell without job control starts background jobs with SIGINT ignored
	[ $sig = INT ] || is $got $((128 + $(kill -l $sig))) "SIG$sig ends it as a signal does"
	[ $sig = INT ] || is "$(cat out.raw)" precious 'and the old target is as it was'
	[ $sig != INT ] || echo precious >out.raw
done
is "$(find . -name '.*.platter-*')" '' 'no hidden file'
ok platter convert -q -f raw -O raw data out.raw
ok cmp data out.raw

# mode and links of what is replaced
chmod 640 out.raw
ln -s out.raw link.raw
ok platter convert -q -f raw -O raw data link.raw
is "$(stat -c %a out.raw)" 640 'mode kept'
ok -n 'a link stays a link' test -L link.raw

# ---- source and target the same --------------------------------------------------------------
before=$(cksum <image.qcow2)
exits 1 platter convert -O raw image.qcow2 image.qcow2
like "$err" 'lock' 'source and target the same'
is "$(cksum <image.qcow2)" "$before" 'and it is as it was'

# ---- compressed clusters are carried over, proved or not ------------------------------------------
ok platter convert -c -f raw -O qcow2 data packed.qcow2
ok platter convert -c -O qcow2 packed.qcow2 again.qcow2
ok -n 'the same bytes' cmp packed.qcow2 again.qcow2
ok platter convert -c --trust-compressed -O qcow2 packed.qcow2 again.qcow2
ok -n 'also unproved' cmp packed.qcow2 again.qcow2

# ---- a cluster that cannot be inflated -------------------------------------------------------------
yes 'text that shrinks' | head -c 1M >text
ok platter convert -c -f raw -O qcow2 text bad.qcow2
# the first compressed cluster begins behind the tables
printf '\377\377\377\377\377\377' | dd of=bad.qcow2 bs=1 seek=$((0x50000)) conv=notrunc status=none
exits 1 platter convert -O raw bad.qcow2 gone.raw
like "$err" 'error while reading at byte 0' 'the error tells where'
nothing gone
exits 1 platter convert -c -O qcow2 bad.qcow2 gone.qcow2
nothing gone
ok platter convert --salvage -O raw bad.qcow2 saved.raw
like "$err" 'warning: error while reading offset 0' '--salvage warns'
ok -n 'and keeps the rest' cmp -i 65536 text saved.raw
ok -n 'what was lost reads as zeros' cmp -n 65536 /dev/zero saved.raw
ok platter convert -q --salvage -O raw bad.qcow2 saved.raw
is "$err" '' 'with -q it does not warn'

# ---- progress --------------------------------------------------------------------------------------
run qimg convert -p -f raw -O qcow2 data p.qcow2
like "$out" '^    \(0.00/100%\)'$'\r''.*\(100.00/100%\)' '-p: the words that callers parse'
run qimg convert -p -q -f raw -O qcow2 data p.qcow2
is "$out$err" '' '-q wins over -p'

# ---- a device ------------------------------------------------------------------------------------
if [ "$(id -u)" = 0 ] && head -c 16M /dev/urandom >disk &&
	dev=$(losetup -f --show disk 2>/dev/null); then
	cleanup() { losetup -d "$dev"; }
	ok platter convert -n -f raw -O raw data "$dev"
	ok cmp -n $((8 << 20)) data "$dev"
	ok platter convert -f raw -O raw -t none data "$dev"
	ok -n 'a device that is created is written, too' cmp -n $((8 << 20)) data "$dev"
	ok platter convert -f raw -O qcow2 data "$dev"
	ok platter convert -f qcow2 -O raw "$dev" from-dev.raw
	ok cmp data from-dev.raw
	truncate -s 32M large
	exits 1 platter convert -n -f raw -O raw large "$dev"
	like "$err" 'smaller than input' 'a device that is too small'
else
	skip 9 'no loop devices here'
fi

done_testing
