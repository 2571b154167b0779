#!/bin/bash
# info beside the peer: the same bytes, errors and exit codes.
. "${0%/*}/../tap.sh"
skip_unless qemu-img
peer_version qemu-img

# Images that the peer makes, in both folders the same bytes.
twins
cd peer || exit 1
{
	truncate -s 1M base
	truncate -s 1000 odd
	: >empty
	truncate -s 3T sparse
	"$PEER" create -q -f qcow2 plain.qcow2 1G
	"$PEER" create -q -f qcow2 -o compat=0.10 v2.qcow2 1G
	"$PEER" create -q -f qcow2 -o refcount_bits=1,cluster_size=512 small.qcow2 10M
	"$PEER" create -q -f qcow2 -o lazy_refcounts=on,cluster_size=2M lazy.qcow2 64T
	"$PEER" create -q -f qcow2 -o extended_l2=on,compression_type=zstd ext.qcow2 1M
	"$PEER" create -q -f qcow2 -o data_file=d.raw,data_file_raw=on data.qcow2 1M
	"$PEER" create -q -f qcow2 -o data_file=d2.raw data2.qcow2 1M
	"$PEER" create -q -f qcow2 --object secret,id=s,data=pw \
		-o encrypt.format=aes,encrypt.key-secret=s aes.qcow2 1M
	"$PEER" create -q -f qcow2 -b base -F raw over.qcow2
	"$PEER" create -q -f qcow2 -b over.qcow2 -F qcow2 top.qcow2
	"$PEER" create -q -f qcow2 -b "$PWD/base" -F raw abs.qcow2
	"$PEER" create -q -f qcow2 -u -b missing -F raw lost.qcow2 1M
	"$PEER" create -q -f qcow2 -u -b json:{} -F raw json.qcow2 1M
	"$PEER" create -q -f qcow2 -u -b nbd://h/x -F raw nbd.qcow2 1M
	"$PEER" create -q -f qcow2 loop1.qcow2 1M
	"$PEER" create -q -f qcow2 -b loop1.qcow2 -F qcow2 loop2.qcow2
	"$PEER" rebase -u -b loop2.qcow2 -F qcow2 loop1.qcow2
	cp over.qcow2 snap.qcow2
	"$PEER" snapshot -c one snap.qcow2
	"$PEER" snapshot -c 'a rather long name, longer than its column' snap.qcow2
	"$PEER" bitmap --add snap.qcow2 b0
	"$PEER" bitmap --add --disable -g 1M snap.qcow2 b1
	cp plain.qcow2 dirty.qcow2
	printf '\1' | dd of=dirty.qcow2 bs=1 seek=79 conv=notrunc status=none
	cp plain.qcow2 corrupt.qcow2
	printf '\2' | dd of=corrupt.qcow2 bs=1 seek=79 conv=notrunc status=none
	mkdir sub
	"$PEER" create -q -f qcow2 -b ../base -F raw sub/rel.qcow2
} || fail 'the images are made'
cd .. || exit 1
cp -a --sparse=always peer/. ours/

for f in base odd empty sparse plain.qcow2 v2.qcow2 small.qcow2 lazy.qcow2 ext.qcow2 data.qcow2 \
	data2.qcow2 aes.qcow2 over.qcow2 abs.qcow2 lost.qcow2 json.qcow2 nbd.qcow2 snap.qcow2 \
	dirty.qcow2 corrupt.qcow2 sub/rel.qcow2; do
	# cp may lay the same bytes out in more or fewer blocks
	for a in '' '--output=json'; do
		# shellcheck disable=SC2086
		same_output -f 's/(disk size:|"actual-size":).*/\1/' info $a $f
	done
done
same_output info --backing-chain --output=json base
for f in over.qcow2 top.qcow2 plain.qcow2 sub/rel.qcow2 lost.qcow2; do
	for a in '' '--output=json'; do
		# shellcheck disable=SC2086
		same_output -f 's/(disk size:|"actual-size":).*/\1/' info --backing-chain $a $f
	done
done
same_output info --backing-chain loop1.qcow2
same_output info --backing-chain --output=json loop1.qcow2

# the disk size of files that are the same for both
for f in base odd empty; do
	rm -f peer/$f
	cp --sparse=always ours/$f peer/$f
done
head -c 300000 /dev/urandom >ours/full
cp ours/full peer/full
for f in empty full; do
	same_output info $f
	same_output info --output=json $f
done

# names and definitions
for a in file:base ./base sub/../base null-co:// /dev/null /dev/zero; do
	same_output info "$a"
	same_output info --output=json "$a"
done
same_output info --image-opts driver=raw,file.filename=base
same_output info --image-opts driver=raw,file.filename=base,offset=512,size=1k
same_output -f 's/disk size.*//' info --image-opts driver=qcow2,file.driver=file,file.filename=over.qcow2
same_output -f 's/disk size.*//' info \
	'json:{"driver":"qcow2","file":{"driver":"file","filename":"over.qcow2"},"backing":null}'
same_output info 'json:{"driver":"null-co","size":1000}'
same_output info --output=json 'json:{"driver":"null-co","size":1000}'
same_output info --image-opts driver=null-co,size=1M

# file names in JSON
for n in 'a"b' 'a\b' $'tab\tx' $'nl\nx' $'\x01\x7f' $'\xc3\xa9' $'\xe2\x82\xac' $'\xf0\x9f\x98\x80' \
	$'bad\xff' $'\xe2\x82' $'\xed\xa0\x80' $'\xc0\x80'; do
	truncate -s 512 "ours/$n" "peer/$n" 2>/dev/null || continue
	same_output info --output=json "./$n"
done

# errors
same_output info
same_output info a b
same_output info nosuch
same_output info --output=json nosuch
same_output info --output=xml base
same_output info --output
same_output info -f
same_output info -x base
same_output info --nothing base
same_output info --force-share=1 base
same_output info -f qcow2 base
same_output info -f nothing base
same_output info -f raw --image-opts driver=raw,file.filename=base
same_output info --image-opts driver=nothing,file.filename=base
same_output info /
same_output info base -f raw --output=json --output=human
same_output info -U -f raw -- base
same_output info --output json base --force-share

# human sizes
for s in 1 512 1000 1024 1536 10240 100352 1000448 1022976 1023488 1024000 1047040 1048064 \
	1054720 123457024 1072693248 1073217536 1099511628288; do
	truncate -s $s ours/s peer/s
	same_output -n "a size of $s" info -f raw s
done
done_testing
