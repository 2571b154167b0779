#!/bin/bash
# Standard streams that are full, closed, or nobody reads: lost results are a failure, lost
# chatter is not, and nothing that is printed ends up in an image.
. "${0%/*}/../tap.sh"

head -c 1M /dev/urandom >disk
platter convert -q -f raw -O qcow2 disk image

# lost TITLE HOW CMD...: fails with one line that tells why
lost() {
	local how=$1
	shift
	rc=0
	case $how in
	full) "$@" >/dev/full 2>"$T/.err" || rc=$? ;;
	closed) "$@" >&- 2>"$T/.err" || rc=$? ;;
	esac
	is "$rc $(wc -l <"$T/.err") $(grep -c 'cannot write to standard output' "$T/.err")" '1 1 1' \
		"stdout is $how: ${*##*/}"
}
for how in full closed; do
	for who in "$PLATTER" "$QIMG"; do
		lost $how "$who" info image
		lost $how "$who" info --output=json image
		lost $how "$who" map image
		lost $how "$who" map --output=json image
		lost $how "$who" check image
		lost $how "$who" check --output=json image
		lost $how "$who" compare -p image disk
		lost $how "$who" measure -O qcow2 image
		lost $how "$who" --help
		lost $how "$who" --version
		lost $how "$who" info --help
		lost $how "$who" create -f qcow2 -o help
		lost $how "$who" convert -O qcow2 -o help
	done
	lost $how "$PLATTER" help
	lost $how "$PLATTER" help convert
	lost $how "$PLATTER" completion bash
done

# What was to be made is made.
for how in '>/dev/full' '>&-' '<&- >&-' '<&- >&- 2>&-' '| true'; do
	rm -f new
	ok -n "create $how" bash -c "set -o pipefail; \"\$0\" create -f qcow2 new 1M $how" "$QIMG"
	ok -n 'the image is there' qimg check -q new
	ok -n "convert -p $how" \
		bash -c "set -o pipefail; \"\$0\" convert -p -O qcow2 disk new $how" "$QIMG"
	ok -n 'it is right' qimg compare -q -f raw -F qcow2 disk new
	head -c 1M /dev/zero >target
	ok -n "convert -p -n $how" \
		bash -c "set -o pipefail; \"\$0\" convert -p -n -f raw -O raw disk target $how" "$QIMG"
	ok -n 'and nothing else is in it' cmp disk target
	exits 1 -n "an error $how" \
		bash -c "set -o pipefail; \"\$0\" convert -p -n -f qcow2 -O raw disk target $how" "$QIMG"
	ok -n 'is not in it either' cmp disk target
done

# Who reads no further, as head does not, has what it wants: no message.
for ((i = 0; i < 300; i++)); do
	printf x | dd of=holes bs=1 seek=$((i * 100000)) conv=notrunc status=none
done
"$PLATTER" map --output=json -f raw holes 2>"$T/.err" | true
is "$(cat "$T/.err")" '' 'a reader that leaves'
done_testing
