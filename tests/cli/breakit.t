#!/bin/bash
# What users, scripts and attackers type: every option of every command with values that it
# cannot have, odd names, targets that are no files, sources that go away.
if [ -z "${IN_NAMESPACE:-}" ]; then
	# mounts of our own, which go away with us
	how=-m
	[ "$(id -u)" = 0 ] || how=-Urm
	unshare $how true 2>/dev/null && IN_NAMESPACE=1 exec unshare $how bash "$0"
fi
. "${0%/*}/../tap.sh"
# shellcheck disable=SC1090
. <("$PLATTER" completion bash)

head -c 300k /dev/urandom >disk
platter convert -q -f raw -O qcow2 disk image
cp image target
long=$(printf 'x%.0s' {1..5000})
values=('' -1 0 x 99999999999999999999999 9223372036854775807 '%s%n' "$long" ',' '='
	'a=b,c' $'\n' 'json:{' $'\xff\xfe')

# ---- wrong words --------------------------------------------------------------------------
# Hundreds of runs, one test for each command: none crashes, hangs, fails without a word or
# works with a value that is none.
bad=''
try() { # LIMIT WHO ARG...
	local limit=$1
	shift
	rc=0
	"$@" >"$T/.out" 2>"$T/.err" </dev/null || rc=$?
	[ $rc -le "$limit" ] || [ $rc = 63 ] || bad+="exit code $rc: ${*:1:6}
"
	[ $rc = 0 ] || [ -s "$T/.err" ] || [ -s "$T/.out" ] || bad+="not a word: ${*:1:6}
"
}
for cmd in create convert info map check compare measure help completion; do
	bad=''
	limit=1
	case $cmd in compare) limit=4 ;; check) limit=3 ;; esac
	case $cmd in
	create) args=(new 1M) ;;
	convert) args=(image new) ;;
	compare) args=(image image) ;;
	help) args=(info) ;;
	completion) args=(bash) ;;
	*) args=(image) ;;
	esac
	for who in "$PLATTER" "$QIMG"; do
		try $limit "$who" $cmd
		try $limit "$who" $cmd --
		try $limit "$who" $cmd ''
		try $limit "$who" $cmd a b c d e f
		try $limit "$who" $cmd --nonsense "${args[@]}"
		try $limit "$who" $cmd "--$long" "${args[@]}"
		try $limit "$who" $cmd "$long" "$long"
		try $limit "$who" $cmd -Z "${args[@]}"
		try $limit "$who" $cmd - "${args[@]}"
	done
	for o in $(_platter_options $cmd); do
		try $limit "$PLATTER" $cmd "${args[@]}" "$o"
		[ "$o" != --help ] || continue
		for v in "${values[@]}"; do
			case $o in
			--*) try $limit "$PLATTER" $cmd "$o=$v" "${args[@]}" ;;
			*) try $limit "$PLATTER" $cmd "$o" "$v" "${args[@]}" ;;
			esac
		done
		rm -f -- new x b
	done
	is "$bad" '' "$cmd: wrong options and values"
	ok -n "$cmd: nothing happened to the image" cmp image target
done
bad=''
for f in raw qcow2; do
	for k in size cluster_size compat refcount_bits preallocation lazy_refcounts extended_l2 \
		compression_type backing_file backing_fmt data_file data_file_raw encryption nocow \
		extent_size_hint; do
		for v in "${values[@]}"; do
			try 1 "$PLATTER" create -q -f $f -o "$k=$v" new 1M
			rm -f -- new x
		done
	done
done
is "$bad" '' 'create -o: wrong values'
bad=''
for n in 'json:' 'json:{}' 'json:[]' 'json:{"driver":"qcow2"}' 'json:{"driver":5}' 'json:null' \
	'json:{"driver":"raw","file":{"driver":"raw","file":{"driver":"file"}}}' \
	'json:{"driver":"qcow2","file":"nothing"}' 'json:{"file":{"filename":[1]}}' \
	'json:{"driver":"qcow2","file":{"driver":"file","filename":"image"},"backing":"x"}' \
	"json:$(printf '[%.0s' {1..20000})" "json:{\"a\":\"$long\"}" 'file:' 'file://' 'nbd:' \
	'http://x/y' '//' 'null-co://' 'blkdebug::' 'fat:/etc' ':' 'x:'; do
	for cmd in info map check 'convert -O raw'; do
		set --
		[ "$cmd" != 'convert -O raw' ] || set -- new
		# shellcheck disable=SC2086
		try 3 "$PLATTER" $cmd "$n" "$@"
	done
	for o in driver=qcow2 "$n" driver=raw,file=x file.filename=image,file.driver=host_device \
		driver=raw,file.driver=file,file.filename=image,offset=-1 ',,' '='; do
		try 1 "$PLATTER" info --image-opts "$o"
	done
	rm -f new
done
is "$bad" '' 'names that are definitions, or not'
rm -f ./*x*

# ---- names ----------------------------------------------------------------------------------
mkdir names json
count=0
for n in 'with space' $'new\nline' $'tab\tand\r' 'comma,name' 'quote"s' "single'" 'back\slash' \
	'%s%n' '*' '$HOME' "$(printf 'y%.0s' {1..255})" $'not\xffutf8\xfe' ünï 'semi;colon' '#' \
	./-dash ./co:lon '-' '~' '.hidden'; do
	t=$(printf %q "$n" | head -c 40)
	t=${t//yyyy/}
	for f in raw qcow2; do
		(
			cd names && "$QIMG" convert -f raw -O $f -- ../disk "$n" &&
				"$QIMG" info -f $f -- "$n" >/dev/null &&
				"$QIMG" map -f $f --output=json -- "$n" >/dev/null &&
				"$QIMG" compare -q -f raw -F $f -- ../disk "$n" &&
				"$QIMG" info --output=json -- "$n" >"../json/$f$count"
		) >"$T/.out" 2>"$T/.err"
		is "$? $(cat "$T/.err")" '0 ' "a $f image called $t"
		[ ! -e names/"$n" ] || rm -f -- names/"$n"
		is "$(ls -A names)" '' 'and nothing else'
	done
	count=$((count + 1))
done
if command -v python3 >/dev/null; then
	ok -n 'the JSON of them all can be parsed' python3 -c '
import glob, json
for name in glob.glob("json/*"):
	json.load(open(name))'
fi
for n in -dash co:lon nbd:x "$(printf 'y%.0s' {1..256})" 'no/such/folder' ''; do
	exits 1 qimg convert -f raw -O raw disk "$n"
done
is "$(ls -A names)" '' 'names that cannot be: nothing is made'
for n in 'sp ace' 'com,ma' $'new\nline' $'\xff\xfe' 'a:b'; do
	cp image "names/$n"
	# the name in the image is a path, not options
	case $n in *:*) b=./$n ;; *) b=$n ;; esac
	ok -n "an overlay of $(printf %q "$n")" \
		env -C names "$QIMG" create -q -f qcow2 -b "$b" -F qcow2 over
	ok -n "a backing file called $(printf %q "$n")" qimg convert -O raw names/over back
	ok -n 'it is read' qimg compare -q -f raw -F raw disk back
	rm -f names/* back
done

# ---- targets -----------------------------------------------------------------------------------
mkdir at at/folder
mkfifo at/fifo
ln -s nowhere/at/all at/dangling
ln -s round at/round
cp disk at/same
ln at/same at/hard
ln -s same at/soft
ls -lA at >before
for n in folder fifo dangling round folder/ same/x . ..; do
	for f in raw qcow2; do
		run timeout 20 "$PLATTER" convert -f raw -O $f disk at/$n
		is "$rc $(wc -l <"$T/.err")" '1 1' "the target is $n, $f"
	done
done
for n in same ./same hard soft ../at/same; do
	for a in '-O raw' '-O qcow2' '-n -O raw' "-O qcow2 -o data_file=at/$n"; do
		t=at/$n
		[[ $a != *data_file* ]] || t=at/other
		# shellcheck disable=SC2086
		exits 1 -n "the source is the target: $n, $a" platter convert -f raw $a at/same $t
	done
done
for b in same ./same ../at/same hard; do
	exits 1 -n "the target is its backing file: $b" \
		qimg convert -f raw -O qcow2 -B $b -F raw disk at/same
done
platter create -q -f qcow2 -b same -F raw at/over
exits 1 -n "the target is the source's backing file" platter convert -O raw at/over at/same
exits 1 -n 'or its own' platter convert -O qcow2 -B over -F qcow2 at/over at/over
rm -f at/over
is "$(ls -lA at)" "$(cat before)" 'nothing was made or changed'
ok cmp disk at/same
for n in /dev/null /dev/full /dev/zero; do
	run platter convert -f raw -O raw disk $n
	is "$rc $(wc -l <"$T/.err")" '1 1' "the target is $n"
done

# A folder that nobody may write to.
mkdir ro
if [ -n "${IN_NAMESPACE:-}" ] && mount -t tmpfs -o size=2M none ro 2>/dev/null; then
	cp disk ro/disk
	cp image ro/image
	mount -o remount,ro ro
	exits 1 platter convert -f raw -O qcow2 disk ro/new
	like "$err" 'Read-only file system' 'it says why'
	exits 1 platter convert -f raw -O raw disk ro/disk
	exits 1 platter convert -n -f raw -O raw disk ro/disk
	exits 1 platter create -f qcow2 ro/new 1M
	ok -n 'images there can be read' platter convert -O raw ro/image back
	ok platter check -q ro/image
	ok platter map ro/image
	ok platter info ro/image
	is "$(ls -A ro)" 'disk
image' 'nothing was made'
	umount ro
else
	skip 1 'no tmpfs can be mounted here'
fi
if [ "$(id -u)" != 0 ]; then
	chmod 555 ro
	exits 1 platter convert -f raw -O qcow2 disk ro/new
	like "$err" 'Permission denied' 'it says why'
	chmod 755 ro
	chmod 000 at/same
	exits 1 platter info at/same
	like "$err" 'Permission denied' 'nor can it be read'
	chmod 644 at/same
fi

# ---- many at once --------------------------------------------------------------------------------
for a in '-O qcow2' '-O raw' '-c -O qcow2'; do
	for start in nothing there; do
		rm -f at/out
		[ $start = nothing ] || : >at/out
		pids=()
		for i in 1 2 3 4 5 6; do
			# shellcheck disable=SC2086
			"$PLATTER" convert -f raw $a disk at/out 2>/dev/null &
			pids+=($!)
		done
		done=0
		for i in "${pids[@]}"; do
			wait "$i" && done=$((done + 1))
		done
		ok -n "six at once, $a: one has done it" [ $done -ge 1 ]
		ok -n 'and it is whole' platter compare -q -f raw -F "${a##* }" disk at/out
		is "$(find at -name '.*.platter*')" '' 'nothing else is left'
	done
done
for i in 1 2 3 4; do
	"$PLATTER" convert -n -f raw -O qcow2 disk target 2>/dev/null &
done
wait
ok -n 'four at once into an image: sound' platter check -q target

# ---- what goes away ----------------------------------------------------------------------------------
# The source's name: we have it open.
head -c 1M /dev/urandom >goes
cp goes stays
"$PLATTER" convert -r 1M -f raw -O qcow2 goes at/out &
pid=$!
for _ in $(seq 600); do
	readlink /proc/$pid/fd/* 2>/dev/null | grep -q '/goes$' && break
	sleep 0.02
done
rm goes
ok -n 'a source whose name goes away' wait $pid
ok -n 'is copied' platter compare -q -f raw -F qcow2 stays at/out
# The source shrinks: it reads as zeros or fails, but does not crash.
cp stays goes
"$PLATTER" convert -r 1M -f raw -O raw goes at/out 2>/dev/null &
pid=$!
for _ in $(seq 600); do
	readlink /proc/$pid/fd/* 2>/dev/null | grep -q '/goes$' && break
	sleep 0.02
done
: >goes
rc=0
wait $pid || rc=$?
ok -n 'a source that is emptied meanwhile' [ $rc -le 1 ]
# The target's folder.
mkdir leaves
"$PLATTER" convert -r 1M -f raw -O raw stays leaves/out 2>"$T/.err" &
pid=$!
for _ in $(seq 600); do
	readlink /proc/$pid/fd/* 2>/dev/null | grep -q '/leaves' && break
	sleep 0.02
done
rm -rf leaves
rc=0
wait $pid || rc=$?
is "$rc $(wc -l <"$T/.err")" '1 1' "a target's folder that goes away"
done_testing
