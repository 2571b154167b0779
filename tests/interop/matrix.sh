# shellcheck shell=bash
# One corner of the matrix of image shapes, in both directions:
#
#	matrix OPTIONS [-c]        OPTIONS as for -o
#
# What we write is sound to the peer, and the same disk to the peer and to reader.py. What
# the peer writes gives the same map, check and info as there, and the same disk.

# ours and peer are one folder, so that both name the same files
mkdir ours
ln -s ours peer
sources=(3400007 2621440 3146240 1000000)
for i in "${sources[@]}"; do
	noise "ours/src$i" "$i"
done
corner=0

# What is compressed depends on the library; a subcluster of zeros has its room with us.
no_larger() {
	local more=0
	[ "${2:-}" != -c ] || more=12
	[[ $1 != *extended_l2* ]] || return
	ok -n "$1: not larger than the peer's, or by $more %" \
		[ "$(stat -c %s ours/w)" -le $(($(stat -c %s ours/r) * (100 + more) / 100)) ]
}

matrix() {
	local o=$1 src=src${sources[corner++ % ${#sources[@]}]}
	shift
	local name="-o $o${*:+ $*}"
	rm -f ours/w ours/r ours/back
	ok -n "we write $name" qimg convert "$@" -f raw -O qcow2 -o "$o" "ours/$src" ours/w ||
		return
	ok -n "$name: sound" peer check -q ours/w
	ok -n "$name: the same disk" peer compare -q -f raw -F qcow2 "ours/$src" ours/w
	same_disk -n "$name" "ours/$src" ours/w
	peer convert "$@" -f raw -O qcow2 -o "$o" "ours/$src" ours/r || fail "the peer: $name"
	no_larger "$name" "$@"
	same_output -n "$name: check" check --output=json r
	same_output -n "$name: map" map --output=json r
	same_output -n "$name: info" info --output=json r
	ok -n "$name: compare" qimg compare -q -f raw -F qcow2 "ours/$src" ours/r
	qimg convert -O raw ours/r ours/back
	truncate -s "$(stat -c %s "ours/$src")" ours/back
	ok -n "$name: we read" cmp "ours/$src" ours/back
}
