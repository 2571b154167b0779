#!/bin/bash
# A write that would go over metadata is refused in one clear line, and the image is marked.
. "${0%/*}/../tap.sh"
skip_unless python3

damage() { python3 "$TOP/tests/interop/damage.py" "$@"; }
marked() { [ "$(damage "$1" 'print(q.incompat & 2)')" = 2 ]; }

truncate -s 64M src
printf hello | dd of=src bs=1 seek=1M conv=notrunc status=none
ok platter create -q -f qcow2 base 64M
truncate -s 1M small
head -c 64k /dev/zero | tr '\0' a | dd of=small conv=notrunc status=none
truncate -s 64M small
ok platter convert -n -f raw -O qcow2 small base

# over NAME OPTIONS STATEMENT...: runs convert into a damaged copy
over() {
	local name=$1 options=$2
	shift 2
	cp base t
	damage t "$@" || fail "damage: $name"
	run platter convert -n --target-is-zero -f raw --target-image-opts src \
		"driver=qcow2,file.filename=t$options"
}
# refused NAME WHAT OPTIONS STATEMENT...
refused() {
	local name=$1 what=$2
	shift 2
	over "$name" "$@"
	is "$rc" 1 "$name: exit code"
	is "$(wc -l <.err)" 1 "$name: one line"
	like "$err" "^platter: .*t: qcow2: Image is corrupt: Preventing invalid write on metadata .overlaps with $what.\$" \
		"$name: $what"
	ok -n "$name: marked" marked t
	exits 1 -n "$name: not written any more" platter convert -n -f raw -O qcow2 src t
	like "$err" 'corrupt' "$name: and why"
	ok -n "$name: still read" platter convert -O raw t out
	cmp -s -n 65536 out small || fail "$name: the data is there"
}
refused 'L1 table' 'active L1 table' '' 'q.sref(3, 0)'
refused 'L2 table' 'active L2 table' '' 'q.sref(4, 0)'
refused 'refcount table' 'refcount table' '' 'q.sref(1, 0)'
refused 'refcount block' 'refcount block' '' 'q.sref(2, 0)'
refused 'header' 'qcow2_header' '' 'q.sref(0, 0)'
refused 'header, whatever is said' 'qcow2_header' ,overlap-check=none 'q.sref(0, 0)'
refused 'by its flag' 'active L2 table' ,overlap-check=none,overlap-check.active-l2=on 'q.sref(4, 0)'

over 'not looked for' ,overlap-check=constant 'q.sref(4, 0)'
unlike "$err" 'overlaps' 'constant does not look for L2 tables'

# under the other name the words are apart
cp base t
damage t 'q.sref(3, 0)'
exits 1 qimg convert -n --target-is-zero -f raw -O qcow2 src t
is "$err" 'qcow2: Marking image as corrupt: Preventing invalid write on metadata (overlaps with active L1 table); further corruption events will be suppressed
qemu-img: error while writing at byte 1048576: Input/output error' 'as the peer says it'

# a sound image, with all checks, and large ones
for o in cluster_size=512 cluster_size=64k extended_l2=on compat=v2 data_file=d refcount_bits=1; do
	rm -f t d
	ok platter create -q -f qcow2 -o $o t 64M
	ok -n "all checks, $o" platter convert -n -f raw --target-image-opts small \
		driver=qcow2,file.filename=t,overlap-check=all
	ok -n "sound: $o" platter check -q t
	ok -n "the same: $o" platter compare -q -f raw small t
done

# options of an open that are wrong name themselves
while IFS='|' read -r o want; do
	exits 1 -n "$o" platter map --image-opts "driver=qcow2,file.filename=base,$o"
	like "$err" "$want" "$o: $want"
done <<'END'
overlap-check=some|Unsupported value 'some' for qcow2 option 'overlap-check'
overlap-check=all,overlap-check.template=none|Conflicting values
l2-cache-entry-size=100|L2 cache entry size must be a power of two
cache-clean-interval=4294967296|Cache clean interval too big
cache-size=1,l2-cache-size=2|l2-cache-size may not exceed cache-size
discard-no-unref=some|'discard-no-unref' expects 'on' or 'off'
pass-discard-other=some|'pass-discard-other' expects 'on' or 'off'
END
done_testing
