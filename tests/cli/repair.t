#!/bin/bash
# check -r: what is ours alone: entries that point nowhere, the list of problems.
. "${0%/*}/../tap.sh"
skip_unless python3

damage() { python3 "$TOP/tests/interop/damage.py" "$@" || fail "damage: $*"; }
# problems FILE: those of the JSON in it, one in a line
problems() {
	python3 - "$1" <<-END
		import json, sys
		j = json.load(open(sys.argv[1]))
		for p in j["problems"]:
		    print(p["kind"], p.get("guest-offset", "-"), p.get("host-offset", "-"),
		          "fixed" if p["fixed"] else "left")
		print(len(j["problems"]), j["problems-left-out"])
	END
}
json() { # json RC NAME ARG...: check as JSON -> $out: the problems
	local rc=$1 name=$2
	shift 2
	exits "$rc" -n "$name" platter check --output=json "$@"
	cp "$T/.out" json
	out=$(problems json)
}

for i in 1 2 3 4; do head -c 65536 /dev/zero | tr '\0' "$i"; done >raw
ok platter convert -f raw -O qcow2 raw base.qcow2
fresh() { cp base.qcow2 t; damage t "$@"; }

fresh pass
json 0 'a sound image' t
is "$out" '0 0' 'has no problems'
json 0 'nor anything to repair' -r all t
ok -n 'and is not touched' cmp t base.qcow2

fresh 'q.sl2(0, q.l2(0) + 512)' 'q.sl2(1, 1 << 40 | C)' 'q.sl2(2, q.l2(2) | 4)' 'q.sref(60, 2)'
json 2 'damaged' t
like "$out" 'l2-entry 0 [0-9]+ left' 'an entry that is not aligned, by its guest offset'
like "$out" 'outside 65536 1099511627776 left' 'one past the end'
like "$out" 'l2-entry 131072 [0-9]+ left' 'one with reserved bits'
json 0 'repaired' -r all t
like "$out" 'l2-entry 0 [0-9]+ fixed' 'what was lost is told'
like "$out" 'l2-entry 65536 1099511627776 fixed' 'with its places'
like "$out" 'l2-entry 131072 [0-9]+ fixed' 'and what was not'
unlike "$out" left 'nothing is left'
exits 0 platter check t
ok platter convert -O raw t back
ok -n 'lost clusters are zeros' cmp -n 131072 back /dev/zero
ok -n 'others are as they were' cmp -i 131072 back raw

fresh 'q.sl2(0, q.l2(0) + 512)'
exits 2 -n 'under the other name entries stay' qimg check -r all t
unlike "$(qimg check --output=json t 2>/dev/null)" problems 'and JSON has no list'

# compressed clusters: what is in the file stays, whatever their length says
ok platter convert -c -f raw -O qcow2 raw packed.qcow2
cp packed.qcow2 t
damage t 'q.sl2(0, q.l2(0) | 255 << 54)' 'q.sl2(1, Z | C | 1 << 40)'
json 0 'compressed clusters past the end' -r all t
unlike "$out" left 'are repaired'
ok platter convert -O raw t back
ok -n 'one that begins in the file is whole' cmp -n 65536 back raw
ok -n 'one that does not is zeros' cmp -i 65536:0 -n 65536 back /dev/zero
ok -n 'others are as they were' cmp -i 131072 back raw

fresh 'q.sref(3, 0)' 'q.sref(5, 3)'
json 2 'wrong counts' t
is "$out" "refcount - 196608 left
leak - 327680 left
copied-flag 0 327680 left
3 0" 'have no guest offset'
cp t before
json 1 'leaks alone cannot be repaired there' -r leaks t 2>/dev/null
ok -n 'and nothing is' cmp t before
json 0 'with everything else they can' -r all t
is "$out" "refcount - 196608 fixed
leak - 327680 fixed
2 0" 'told as repaired'
exits 0 platter check t
ok -n 'the disk is the same' platter compare -f raw raw t

# more than anybody reads
fresh '[q.sref(i, 1) for i in range(q.cs // 4)]' 'q.cut(q.cs * (q.cs // 4))'
json 3 'thousands of leaks' t
is "$(tail -n 1 <<<"$out" | cut -d ' ' -f 1)" 1000 '1000 are listed'
isnt "$(tail -n 1 <<<"$out" | cut -d ' ' -f 2)" 0 'the others are counted'
exits 0 -n 'repaired' platter check -q -r leaks t
exits 0 platter check t

fresh pass
exits 1 -n 'not with -U' platter check -r all -U t
like "$err" 'force-share=on can only be used with read-only images' 'and why'
ok -n 'not touched' cmp t base.qcow2
if [ "$(id -u)" != 0 ]; then
	chmod 400 t
	exits 1 -n 'not without the right to write' platter check -r all t
fi
exits 63 -n 'raw has no check' platter check -r all -f raw raw

done_testing
