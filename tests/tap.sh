# shellcheck shell=bash
# TAP for the shell tests. A test begins with
#
#	#!/bin/bash
#	. "${0%/*}/../tap.sh"
#
# and is then in $T, a folder of its own that goes away at the end. It has
#
#	$PLATTER, platter ARG...   the program under its own name
#	$QIMG, qimg ARG...         the program under the name qemu-img
#	$PEER, peer ARG...         the installed qemu-img (after: skip_unless qemu-img)
#	$TOP, $DATA                the source tree, and tests/data in it
#	$ZSTD                      zstd, or zlib where this build has no zstd
#	$SANITIZED                 not empty under a sanitizer (no limits on memory then)
#
#	plan N                     or done_testing at the end; one of the two is a must
#	ok [-n NAME] CMD...        CMD must succeed
#	nok [-n NAME] CMD...       CMD must fail, but not by a signal
#	exits N [-n NAME] CMD...   CMD must exit with N
#	is GOT WANT NAME           equal strings; isnt, like (extended regexp), unlike
#	pass NAME, fail NAME, diag TEXT
#	run CMD...                 sets $out, $err, $rc; the exact bytes stay in
#	                           $T/.out and $T/.err; ok, nok and exits set them too
#	skip N REASON              counts N tests as skipped
#	skip_all REASON            leaves the test: this machine cannot run it
#	skip_unless TOOL...        the same for a missing tool; fails if CI=true
#	need_root, need_loop       the same for rights that a test needs
#	peer_version [TOOL]        a comment with the version compared with
#
#	twins                      empties the twin folders $T/ours and $T/peer
#	twin CMD...                runs CMD in both; in CMD's words @QIMG@ is ours in the
#	                           one and the peer in the other
#	same_output [-n NAME] [-f SED] ARG...
#	                           runs qemu-img ARG... of ours and of the peer, each in
#	                           its twin folder: stdout, stderr and the exit code must
#	                           be equal, after the sed script SED if given
#	raw_equal A B [FMT_A [FMT_B]]
#	                           the contents as the peer reads them are equal; for
#	                           ok: ok raw_equal a.qcow2 b.raw qcow2 raw

set -u
export LC_ALL=C TZ=UTC
TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
DATA=$TOP/tests/data
PLATTER=${PLATTER:-$TOP/build/platter}
case $PLATTER in
/*) ;;
*) PLATTER=$PWD/$PLATTER ;;
esac
PEER=${PEER:-/usr/bin/qemu-img}
SANITIZED=${SANITIZED:-}
tap_n=0 tap_failed=0 tap_plan='' tap_main=$BASHPID # counts: see tap_count
out='' err='' rc=0
export TOP DATA PLATTER PEER

if [ ! -x "$PLATTER" ]; then
	echo "Bail out! $PLATTER is not there: run make first"
	exit 1
fi

T=$(mktemp -d "${TMPDIR:-/tmp}/platter.XXXXXX") || exit 1
QIMG=$T/bin/qemu-img
export T QIMG
mkdir "$T/bin"
echo '0 0' >"$T/bin/.count"
ln -s "$PLATTER" "$QIMG"
ln -s "$PLATTER" "$T/bin/platter"
cd "$T" || exit 1
ZSTD=zlib
"$PLATTER" --version | grep -q ', with zstd' && ZSTD=zstd
export ZSTD

tap_end() {
	local status=$?
	[ "$BASHPID" = "$tap_main" ] || return
	read -r tap_n tap_failed <"$T/bin/.count"
	type cleanup >/dev/null 2>&1 && cleanup
	cd /
	rm -rf "$T"
	[ "$tap_failed" = 0 ] || exit 1
	exit "$status"
}
trap tap_end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

platter() { "$PLATTER" "$@"; }
qimg() { "$QIMG" "$@"; }
peer() { "$PEER" "$@"; }

diag() { printf '%s\n' "$*" | sed 's/^/# /' >&2; }

plan() {
	tap_plan=$1
	echo "1..$1"
}

done_testing() {
	read -r tap_n tap_failed <"$T/bin/.count"
	[ -n "$tap_plan" ] || plan "$tap_n"
}

# tap_count FAILED: the counts are in a file, so that tests may run in subshells
tap_count() {
	read -r tap_n tap_failed <"$T/bin/.count"
	tap_n=$((tap_n + 1)) tap_failed=$((tap_failed + $1))
	echo "$tap_n $tap_failed" >"$T/bin/.count"
}

# tap_result OK NAME: a name never holds the temporary folder, so that runs compare
tap_result() {
	local name=${2//"$T"/\$T}
	name=${name//'#'/\\#}
	name=${name//$'\n'/ }
	tap_count $((!$1))
	if [ "$1" = 1 ]; then
		echo "ok $tap_n - $name"
		return 0
	fi
	echo "not ok $tap_n - $name"
	diag "failed: $name (${0##*/}, line ${BASH_LINENO[1]})"
	return 1
}

pass() { tap_result 1 "$1"; }
fail() { tap_result 0 "$1"; }

run() {
	rc=0
	"$@" >"$T/.out" 2>"$T/.err" </dev/null || rc=$?
	out=$(tr -d '\0' <"$T/.out")
	err=$(tr -d '\0' <"$T/.err")
}

tap_show() {
	diag "exit code $rc${1:+, want $1}"
	[ -z "$out" ] || diag "stdout: $(head -c 2000 "$T/.out" | tr -d '\0')"
	[ -z "$err" ] || diag "stderr: $(head -c 2000 "$T/.err" | tr -d '\0')"
}

ok() {
	local name=''
	[ "$1" != -n ] || { name=$2; shift 2; }
	run "$@"
	[ $rc = 0 ] && { tap_result 1 "${name:-$*}"; return; }
	tap_result 0 "${name:-$*}"
	tap_show 0
	return 1
}

nok() {
	local name=''
	[ "$1" != -n ] || { name=$2; shift 2; }
	run "$@"
	[ $rc != 0 ] && [ $rc -lt 126 ] && { tap_result 1 "${name:-! $*}"; return; }
	tap_result 0 "${name:-! $*}"
	tap_show 'a failure'
	return 1
}

exits() {
	local name='' want=$1
	shift
	[ "$1" != -n ] || { name=$2; shift 2; }
	run "$@"
	[ $rc = "$want" ] && { tap_result 1 "${name:-$* -> $want}"; return; }
	tap_result 0 "${name:-$* -> $want}"
	tap_show "$want"
	return 1
}

is() {
	[ "$1" = "$2" ] && { tap_result 1 "$3"; return; }
	tap_result 0 "$3"
	diag "got:  $1"
	diag "want: $2"
	return 1
}

isnt() {
	[ "$1" != "$2" ] && { tap_result 1 "$3"; return; }
	tap_result 0 "$3"
	diag "got what it must not be: $1"
	return 1
}

like() {
	[[ $1 =~ $2 ]] && { tap_result 1 "$3"; return; }
	tap_result 0 "$3"
	diag "got:  $1"
	diag "want a match of: $2"
	return 1
}

unlike() {
	[[ ! $1 =~ $2 ]] && { tap_result 1 "$3"; return; }
	tap_result 0 "$3"
	diag "got:  $1"
	diag "want no match of: $2"
	return 1
}

skip() {
	local i
	for ((i = 0; i < $1; i++)); do
		tap_count 0
		echo "ok $tap_n # SKIP $2"
	done
}

skip_all() {
	read -r tap_n tap_failed <"$T/bin/.count"
	if [ "$tap_n" = 0 ] && [ -z "$tap_plan" ]; then
		echo "1..0 # SKIP $1"
	elif [ -n "$tap_plan" ]; then
		skip $((tap_plan - tap_n)) "$1"
	else
		skip 1 "$1"
		done_testing
	fi
	exit 0
}

skip_unless() {
	local tool
	for tool; do
		[ "$tool" = qemu-img ] && tool=$PEER
		command -v "$tool" >/dev/null && continue
		if [ "${CI:-}" = true ] || [ -n "${PLATTER_NO_SKIP:-}" ]; then
			fail "$tool is installed"
			done_testing
			exit 1
		fi
		skip_all "no $tool"
	done
}

need_root() { [ "$(id -u)" = 0 ] || skip_all 'needs root'; }

need_loop() {
	local dev
	need_root
	truncate -s 1M "$T/.loop"
	dev=$(losetup -f --show "$T/.loop" 2>/dev/null) || skip_all 'no loop devices here'
	losetup -d "$dev"
	rm "$T/.loop"
}

peer_version() {
	local tool=${1:-$PEER}
	echo "# peer: $("$tool" --version 2>&1 | head -n 1)"
}

twins() {
	rm -rf "$T/ours" "$T/peer"
	mkdir "$T/ours" "$T/peer"
}

twin() {
	[ -d "$T/ours" ] || twins
	(cd "$T/ours" && "${@//@QIMG@/$QIMG}") && (cd "$T/peer" && "${@//@QIMG@/$PEER}")
}

same_output() {
	local name='' filter='' ours peers bad='' f
	while :; do
		case $1 in
		-n) name=$2 ;;
		-f) filter=$2 ;;
		*) break ;;
		esac
		shift 2
	done
	[ -d "$T/ours" ] || twins
	(cd "$T/ours" && exec "$QIMG" "$@" >"$T/.o1" 2>"$T/.e1" </dev/null) && ours=0 || ours=$?
	(cd "$T/peer" && exec "$PEER" "$@" >"$T/.o2" 2>"$T/.e2" </dev/null) && peers=0 || peers=$?
	out=$(tr -d '\0' <"$T/.o1") err=$(tr -d '\0' <"$T/.e1") rc=$ours
	[ -z "$filter" ] || sed -E -i -e "$filter" "$T"/.[oe][12]
	[ $ours = $peers ] || bad="exit code: ours $ours, the peer's $peers"
	for f in o e; do
		cmp -s "$T/.${f}1" "$T/.${f}2" || bad+="
$(cd "$T" && diff -u --label peer --label ours -a ".${f}2" ".${f}1" | head -n 60)"
	done
	[ -z "$bad" ] && { tap_result 1 "${name:-same: $*}"; return; }
	tap_result 0 "${name:-same: $*}"
	diag "$bad"
	return 1
}

# as_raw FILE FORMAT OUT: a plain file with what an independent reader finds in FILE
as_raw() {
	local reader=$PEER
	[ -x "$reader" ] || reader=$QIMG
	"$reader" convert ${2:+-f "$2"} -O raw "$1" "$3"
}

raw_equal() {
	local a=$1 b=$2 status=0
	[ "${3:-}" = raw ] || { a=$T/.raw_a; as_raw "$1" "${3:-}" "$a" || return 1; }
	[ "${4:-}" = raw ] || { b=$T/.raw_b; as_raw "$2" "${4:-}" "$b" || return 1; }
	cmp "$a" "$b" || status=1
	rm -f "$T/.raw_a" "$T/.raw_b"
	return $status
}
