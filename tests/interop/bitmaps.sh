# shellcheck shell=bash disable=SC2034 # words is for who sources this
# What the tests of bitmaps share. A test sources it after tap.sh and kit.sh.

# The peer calls an image #blockNNN there.
words="s/persistent in '[^']*'/persistent in X/; s/(bitmaps to) [^ ]*:/\1 X:/"

# names IMAGE: "NAME GRANULARITY FLAGS" a line
names() {
	peer info --output=json "$1" | python3 -c '
import json, sys
data = json.load(sys.stdin)["format-specific"]["data"]
for b in data.get("bitmaps", []):
    print(b["name"], b["granularity"], "".join(b["flags"]))'
}
# bits IMAGE NAME: the runs
bits() {
	(
		cd "${1%/*}" || exit
		nbdinfo --map=qemu:dirty-bitmap:"$2" \
			-- [ qemu-nbd -r -f qcow2 --bitmap="$2" "${1##*/}" ] | tr -s ' '
	)
}
all_bits() {
	local name rest
	names "$1" | while read -r name rest; do
		echo "$name $rest"
		case $rest in *in-use*) ;; *) bits "$1" "$name" ;; esac
	done
}
# alike IMAGE NAME: the twins have the same bitmaps, and ours is sound
alike() {
	is "$(all_bits "ours/$1")" "$(all_bits "peer/$1")" "$2: the same bitmaps"
	(cd ours && ok -n "$2: sound to the peer" peer check -q "$1")
	(cd ours && ok -n "$2: sound to us" qimg check -q "$1")
}
# both ARG...: the same words, and the same bitmaps in image a
both() {
	same_output -f "$words" bitmap "$@"
	alike a "$*"
}
# fails ARG...: the same words
fails() { same_output -f "$words" bitmap "$@"; }
# fresh ARG...: an empty image a in both
fresh() {
	rm -f ours/a peer/a
	twin peer create -q -f qcow2 "$@"
}
write_both() { twin qemu-io -f qcow2 "$@" >/dev/null; }

# in_use N: bitmap N of image a was not stored
in_use() {
	twin python3 "$TOP/tests/interop/damage.py" a \
		"o = q.bitmaps()[$1] + 12; q.w32(o, q.r32(o) | 1)"
}
