# shellcheck shell=bash
# Images that the peer made with something in them, to write into: each is a folder under
# base/ with `disk` in it, and its snapshots' contents as was_NAME.
#
#	disk_make NAME             makes it once
#	disk_fresh NAME            the folders ours and peer have it as it was made
#	disk_write TITLE ARG...    convert -n ARG... in both: the same words, equal disks;
#	                           ours is sound and its snapshots are what they were
#	disk_sound TITLE           the second half of that
#
# and the sources ../dense and ../holes: text, noise, zeros in holes and zeros that are
# there, and a tail of odd size.

{
	seq 1 60000
	head -c 700000 /dev/urandom
	head -c 500000 /dev/zero
	printf end
} >dense
cp dense holes
truncate -s 2500000 holes
printf tail >>holes

small() { img disk 3M; }
plain() {
	small
	io -c 'write -P 7 0 3M' disk
}
larger() {
	img disk 9M
	io -c 'write -P 7 0 9M' disk
}
zeros() {
	plain
	io -c 'write -z 64k 512k' -c 'write -z -u 1M 1M' disk
}
packed() {
	head -c 3M /dev/zero | tr '\0' x >flat
	peer convert -c -f raw -O qcow2 flat disk
}
packed_zstd() {
	head -c 3M /dev/zero | tr '\0' y >flat
	peer convert -c -f raw -O qcow2 -o "compression_type=$ZSTD,cluster_size=4k" flat disk
}
snapped() {
	plain
	peer snapshot -c one disk
	io -c 'write -P 8 100k 900k' -c 'write -z 2M 256k' disk
	peer snapshot -c two disk
	io -c 'write -P 9 500k 1M' disk
}
snapped_packed() {
	packed
	peer snapshot -c one disk
	io -c 'write -P 8 100k 300k' disk
}
snapped_small() {
	img -o cluster_size=512,compat=0.10 disk 3M
	io -c 'write -P 7 1000k 1M' disk
	peer snapshot -c one disk
}
parts() {
	img -o extended_l2=on disk 3M
	io -c 'write -P 7 10k 4k' -c 'write -z 20k 6k' -c 'write -P 8 1M 192k' \
		-c 'write -z 1100k 40k' disk
}
snapped_parts() {
	parts
	peer snapshot -c one disk
	io -c 'write -P 9 1040k 2k' disk
}
over() {
	peer create -q -f raw base 2M
	io -f raw -c 'write -P 5 0 2M' base
	img -b base -F raw disk 3M
	io -c 'write -P 7 300k 300k' -c 'write -z 1M 100k' disk
}
over_parts() {
	peer create -q -f raw base 2M
	io -f raw -c 'write -P 5 0 2M' base
	img -o extended_l2=on,cluster_size=128k -b base -F raw disk 3M
	io -c 'write -P 7 300k 300k' -c 'write -z 1M 100k' disk
}
over_packed() {
	packed
	mv disk base
	img -b base -F qcow2 disk 4M
}
lazy() {
	img -o lazy_refcounts=on disk 3M
	io -c 'write -P 7 300k 2M' disk
}
bits1() {
	img -o refcount_bits=1 disk 3M
	io -c 'write -P 7 0 1M' disk
}
bits8() {
	img -o refcount_bits=8,cluster_size=4k disk 3M
	io -c 'write -P 7 0 1M' disk
	peer snapshot -c one disk
	peer snapshot -c two disk
}
bits64() {
	img -o refcount_bits=64,cluster_size=512 disk 3M
	io -c 'write -P 7 100k 1M' disk
	peer snapshot -c one disk
}
clusters_2m() {
	img -o cluster_size=2M disk 5M
	io -c 'write -P 7 100k 1M' disk
	peer snapshot -c one disk
}
ahead() { img -o preallocation=metadata disk 3M; }
ahead_full() { img -o preallocation=full disk 3M; }
data_file() {
	img -o data_file=ext disk 3M
	io -c 'write -P 7 100k 2M' -c 'write -z 1M 128k' disk
}
data_file_raw() {
	img -o data_file=ext,data_file_raw=on disk 3M
	io -c 'write -P 7 100k 2M' -c 'write -z 1M 128k' disk
}
# shellcheck disable=SC2034
disks=(small plain larger zeros packed packed_zstd snapped snapped_packed snapped_small parts
	snapped_parts over over_parts over_packed lazy bits1 bits8 bits64 clusters_2m ahead
	ahead_full data_file data_file_raw)

disk_make() {
	local s
	[ ! -e "base/$1" ] || return 0
	mkdir -p "base/$1"
	(cd "base/$1" && "$1") || fail "make $1"
	for s in $(env -C "base/$1" "$PEER" snapshot -l disk | awk 'NR > 2 { print $2 }'); do
		peer convert -l "snapshot.name=$s" -O raw "base/$1/disk" "base/$1/was_$s"
	done
}

disk_fresh() {
	disk_make "$1"
	rm -rf ours peer
	cp -r --sparse=always "base/$1" ours
	cp -r --sparse=always "base/$1" peer
}

disk_write() {
	local title=$1
	shift
	same_output -n "$title" convert -n "$@"
	disk_sound "$title"
}

disk_sound() {
	local s
	ok -n "$1: sound" env -C ours "$PEER" check -q disk
	env -C peer "$PEER" convert -O raw disk want.raw
	same_disk -n "$1" peer/want.raw ours/disk
	for s in ours/was_*; do
		[ -e "$s" ] || continue
		same_disk -n "$1, snapshot ${s##*was_}" -l "${s##*was_}" "$s" ours/disk
	done
}
