#!/bin/bash
# shellcheck disable=SC2086,SC2119
# dd, as the peer copies: what is printed, the size and the bytes of what comes out.
. "${0%/*}/../tap.sh"
. "$TOP/tests/interop/kit.sh"
skip_unless qemu-img qemu-io
peer_version

mkdir ours peer
noise in.raw 1310720
head -c 1000001 in.raw >odd.raw
img in.qcow2 2M
io -c 'write -P 1 64k 64k' -c 'write -z 192k 64k' -c 'write -P 2 1000000 1000' in.qcow2
img -b in.qcow2 -F qcow2 over.qcow2 3M
io -c 'write -P 3 0 4k' over.qcow2
img odd.qcow2 1000
io -c 'write -P 4 0 1000' odd.qcow2
peer convert -c -O qcow2 in.raw packed.qcow2
: >empty
for f in *.raw *.qcow2 empty; do
	ln "$f" "ours/$f"
	ln "$f" "peer/$f"
done

# same_copy ARG...: the same output, and a file `out` of the same bytes; qcow2 by its disk
same_copy() {
	rm -f ours/out peer/out
	same_output dd "$@"
	if [ -e peer/out ] || [ -e ours/out ]; then
		if [[ " $* " == *' -O qcow2 '* ]]; then
			ok -n "dd $*: sound" peer check -q ours/out
			is "$(peer info ours/out | grep virtual)" "$(peer info peer/out | grep virtual)" \
				"dd $*: as large"
			ok -n "dd $*: the same disk" peer compare -q ours/out peer/out
			is "$(peer map --output=json ours/out)" "$(peer map --output=json peer/out)" \
				"dd $*: the same map"
		else
			ok -n "dd $*: the same bytes" cmp ours/out peer/out
		fi
	fi
}

for o in '' '-O qcow2'; do
	for i in in.raw odd.raw in.qcow2 over.qcow2 odd.qcow2 packed.qcow2 empty; do
		for args in '' 'bs=64k count=3' 'bs=64k count=3 skip=2' 'bs=1000 skip=1' \
			'count=0' 'bs=1M skip=1'; do
			# shellcheck disable=SC2086
			same_copy $o $args if=$i of=out
		done
	done
done
for args in 'bs=64k count=2 skip=2' 'bs=64k count=2 skip=3' 'bs=64k skip=18' \
	'bs=64k skip=18 count=19' 'bs=64k skip=18 count=30' 'bs=64k skip=20' 'bs=64k skip=21' \
	'bs=100000 skip=1' 'bs=1M count=8796093022207' 'bs=1M count=8796093022209' \
	'bs=1M skip=8796093022209' 'skip=9223372036854775807' 'skip=2 count=0' \
	'bs=2147483647 count=9223372036854775807' 'bs=1 count=700 skip=600' \
	'bs=7 count=70000 skip=9363' 'bs=300k' 'bs=512b count=1K' 'bs=0x200 count=3' \
	'bs=1.5k count=2' 'skip=1 skip=2 count=9 count=5'; do
	# shellcheck disable=SC2086
	same_copy $args if=in.raw of=out
done

# operands
for args in 'bs=0' 'bs=x' 'bs=-1' 'bs=2G' 'bs=' 'count=x' 'count=-1' 'count=8E' 'count=' 'skip=x' \
	'skip=9E' 'skip=' 'foo=x' 'foo' 'status=none' 'seek=3' 'conv=notrunc' 'obs=3' '=x' 'bs' \
	'if' 'unrecognizable=1' 'if=nono' 'bs=1x bs=512'; do
	same_copy $args if=in.raw of=out
	same_copy if=in.raw of=out $args
done
same_output dd
same_output dd if=in.raw
same_output dd of=out
same_output dd bs=x
same_output dd -f raw
same_output dd -O foo bs=x
same_output dd -O foo if=nono of=out
same_output dd --image-opts -f raw bs=x
same_output dd --image-opts -f raw if=a
same_output dd --image-opts -f raw if=nono of=out
same_output dd -z bs=x
same_output dd -f
same_output dd if= of=out
same_output dd if=in.raw of=
same_output dd if=in.raw of=no-such-folder/out
same_output dd if=no-such-file of=out
same_output dd if=in.raw of=/
same_output dd if=/ of=out
same_output dd -O foo if=in.raw of=out
same_output dd -f foo if=in.raw of=out
same_output dd -f qcow2 if=in.raw of=out
same_output dd -O null-co if=in.raw of=out
same_output dd if=in.raw of=/dev/null
same_output dd if=in.raw of=json:{}
same_copy -f raw if=in.qcow2 of=out
same_copy -f raw -O raw if=in.raw of=out
same_copy --image-opts if=driver=raw,file.filename=in.raw of=out
same_copy --image-opts if=driver=raw,file.filename=in.raw of=out bs=1M skip=9
same_copy if=json:'{"driver":"raw","file":{"driver":"file","filename":"in.raw"}}' of=out skip=9T
same_copy -U if=in.raw of=out
same_copy if=in.raw of=out bs=64k -O qcow2 count=2
same_output dd -- if=in.raw of=out -O qcow2

# over a file that is there: emptied in its place
for f in ours peer; do
	head -c 5000000 /dev/zero | tr '\0' x >$f/out
	ln $f/out $f/other
done
same_output dd if=in.raw of=out
ok cmp ours/out peer/out
ok cmp ours/other peer/out
rm -f ours/out peer/out ours/other peer/other

done_testing
