# shellcheck shell=bash
# One corner of the matrix of image shapes, both ways with the peer:
#
#	matrix OPTIONS [-c]        OPTIONS as for -o

one_folder
sources=(3400007 2621440 3146240 1000000)
for i in "${sources[@]}"; do
	noise "ours/src$i" "$i"
done
corner=0

matrix() {
	local o=$1 src=src${sources[corner++ % ${#sources[@]}]}
	shift
	both_ways "-o $o${*:+ $*}" "$src" -o "$o" "$@"
}
