#!/bin/bash
# The test kit itself: a kit that cannot fail proves nothing.
. "${0%/*}/../tap.sh"

# A test of its own, whose TAP we look at.
inner() {
	printf '. "%s/tests/tap.sh"\n%s\n' "$TOP" "$1" >"$T/inner.t"
	run env -u CI bash "$T/inner.t"
}

inner 'ok true; nok false; exits 3 sh -c "exit 3"; is a a eq; like abc b. re; done_testing'
is "$rc" 0 'all good: exit 0'
is "$(grep -c '^ok ' <<<"$out")" 5 'five tests pass'
like "$out" '1..5' 'and are counted'

inner '(ok true; nok true); ok true; done_testing'
is "$rc:${out##*$'\n'}" '1:1..3' 'tests in a subshell count'

for bad in 'ok false' 'nok true' 'nok sh -c "kill -SEGV \$\$"' 'exits 1 false; exits 1 true' \
	'is a b eq' 'isnt a a ne' 'like abc x re' 'unlike abc b re' 'fail no'; do
	inner "$bad; done_testing"
	is "$rc" 1 "$bad: exit 1"
	like "$out" '(^|
)not ok' "$bad: not ok"
done

inner 'skip_unless no-such-tool; pass never'
is "$rc:$out" '0:1..0 # SKIP no no-such-tool' 'a missing tool skips'
run env CI=true bash "$T/inner.t"
is "$rc" 1 'but fails under CI=true'

inner 'echo "$T" >&2; done_testing'
isnt "$err" "" "it had a folder"
nok -n "which is removed" test -e "$err"
done_testing
