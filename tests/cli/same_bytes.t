#!/bin/bash
# The bytes of an image depend on the source and the options alone: not on the number of
# threads, nor on which of them was faster.
# shellcheck disable=SC2086
. "${0%/*}/../tap.sh"

zstd=zstd
platter create -q -f qcow2 -o compression_type=zstd probe 1M 2>/dev/null &&
	head -c 64k /dev/zero | tr '\0' x >probe.raw &&
	platter convert -q -c -f raw -O qcow2 -o compression_type=zstd probe.raw probe 2>/dev/null ||
	zstd=zlib

# Windows of text, noise and zeros in turn, so that the threads take unequal time.
for i in $(seq 12); do
	seq $((i * 10000)) $((i * 10000 + 90000))
	head -c $((i * 70000)) /dev/urandom
	head -c $((i % 3 * 700000)) /dev/zero
done >disk
truncate -s $(($(stat -c %s disk) + 3000000)) disk
printf end >>disk
platter convert -q -f raw -O qcow2 disk disk.qcow2
platter convert -q -f raw -c -O qcow2 disk packed.qcow2
platter create -q -f qcow2 -b packed.qcow2 -F qcow2 over.qcow2
head -c 5M disk.qcow2 >other
platter convert -q -n -B packed.qcow2 -F qcow2 -f raw -O qcow2 other over.qcow2

# same SOURCE OPTIONS...
same() {
	local m bad='' name="$*"
	for m in 1 2 8 16 16; do
		rm -f out data
		platter convert -q -m $m "${@:2}" $1 out || bad+=" -m $m fails;"
		if [ $m = 1 ]; then
			mv out first
			[ ! -e data ] || mv data first.data
		else
			cmp -s first out || bad+=" -m $m differs;"
			[ ! -e data ] || cmp -s first.data data || bad+=" -m $m: data differs;"
		fi
	done
	is "$bad" '' "$name"
	rm -f first* out data
}
for o in '' '-c' "-c -o compression_type=$zstd" '-S 0' '-S 64k' '-o cluster_size=4k' '-t none' \
	'-c -o cluster_size=1M' '-o extended_l2=on,cluster_size=128k' '-C' '-o refcount_bits=1' \
	'-o data_file=data' '-o preallocation=metadata' '-o compat=0.10,cluster_size=2M'; do
	same disk -f raw -O qcow2 $o
done
same disk -f raw -O raw
for s in disk.qcow2 packed.qcow2 over.qcow2; do
	for o in '' -c "-c -o compression_type=$zstd"; do
		same $s -O qcow2 $o
	done
done
same packed.qcow2 -c --trust-compressed -O qcow2
same over.qcow2 -O qcow2 -B packed.qcow2 -F qcow2
same over.qcow2 -c -O qcow2 -B packed.qcow2 -F qcow2
same 'disk over.qcow2 disk.qcow2' -O qcow2
done_testing
