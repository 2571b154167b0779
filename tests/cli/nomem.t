#!/bin/bash
# Every request for memory failing in turn (tests/cli/nomem.c): the program says so and
# leaves nothing behind, or does without; it does not crash, and not leak.
. "${0%/*}/../tap.sh"

nomem=${PLATTER%/*}/tests/cli/nomem
[ -x "$nomem" ] || skip_all 'no nomem in this build'

# each ARG...: of the program
each() { ok -n "memory runs out: $*" "$nomem" "$@" && diag "${out##*$'\n'}: $*"; }
# the same, for a command that makes the file $T/new
makes() {
	NOMEM_TARGET=$T/new each "$@"
	rm -f "$T/new"
}

platter create -q -f qcow2 base 3M
platter create -q -f qcow2 -b base -F qcow2 -o cluster_size=4k top 4M
head -c 200000 /dev/urandom >data
platter create -q -f raw raw 1M
platter create -q -f qcow2 -o data_file=external,data_file_raw=on outside 1M

# what was printed to JSON, and snapshots
each info --output=json top
each measure --output=json -O qcow2 top
each snapshot -l top
platter snapshot -c s top
each snapshot --output=json top
each snapshot -a s top

mkdir -p folder/sub
echo 1 >folder/sub/'a long name'
ln -s sub/none folder/link
each map fat:floppy:label=x:folder
makes convert -O raw fat:floppy:12:folder new

# archives; their names end as they have to
archive() { # NAME ARG...
	NOMEM_TARGET=$T/$1 each "${@:2}"
	rm -f "$T/$1"
}
archive new.tar.gz convert -q -m 1 --for gcp data new.tar.gz
archive new.ova convert -q -m 1 --for vsphere data new.ova
platter convert -q --for vsphere data disk.ova
platter convert -q --for gcp data disk.tar.gz
each info ova:disk.ova
each check -q --for vsphere disk.ova
each check -q --for gcp disk.tar.gz
each check -q --for kvm --output json top

makes create -f raw new 1M
makes create -f qcow2 new 1M
makes create -f qcow2 -o preallocation=metadata,lazy_refcounts=on new 64M
makes create -f qcow2 -b top -F qcow2 -o extended_l2=on new
makes create -f qcow2 -b top -F qcow2 new 9M
each create -f qcow2 -o data_file=external,data_file_raw=on outside 1M
each info raw
each info top
each info --backing-chain top
each info --output=json --backing-chain top
each info -f qcow2 outside
each info --image-opts driver=qcow2,file.driver=file,file.filename=top
each info 'json:{"driver":"qcow2","file":{"driver":"file","filename":"top"}}'
each map --output=json top
each check top
each check --output=json top
each compare top top
each measure -O qcow2 top
makes convert -O qcow2 data new
makes convert -c -O qcow2 -m 1 data new
makes convert -O raw top new

# What changes an image: one that is written again and again.
platter create -q -f qcow2 -o cluster_size=4k image 1M
platter convert -n -f raw -O qcow2 data image
sound() {
	run platter check image
	like $rc '^[03]$' 'which leaves the image sound'
	rm -f image
	platter create -q -f qcow2 -o cluster_size=4k image 1M
	platter convert -n -f raw -O qcow2 data image
}
each convert -n -f raw -O qcow2 data image
sound
each resize -q image 2M
sound
each amend -o lazy_refcounts=on image
sound
each amend -o refcount_bits=8 image
sound
each check -r all image
sound
each rebase -u -b base -F qcow2 image
sound
done_testing
