#!/bin/bash
# Names, definitions and what images name, against the peer: same output, same words.
. "${0%/*}/../tap.sh"
skip_unless qemu-img
peer_version "$PEER"

twins
twin bash -c '
	q() { "'"$PEER"'" create -q -f qcow2 "$@" >/dev/null; }
	mkdir sub
	truncate -s 1000 r1000
	: >empty
	printf x >one
	head -c 65536 /dev/zero | tr "\0" "\101" >base.raw
	truncate -s 1M base.raw
	cp base.raw sub/base.raw
	q a.qcow2 1M
	q -b base.raw -F raw b1.qcow2
	q -b b1.qcow2 -F qcow2 b2.qcow2
	q -b base.raw -F raw sub/rel.qcow2
	q -u -b gone.raw -F raw gone.qcow2 1M
	q -b gone.qcow2 -u -F qcow2 gone2.qcow2 1M
	q -o data_file=d.raw d.qcow2 1M
	q -o data_file=e.raw e.qcow2 1M
	rm e.raw
	cp base.raw "$(printf "\303\244 b\"c.raw")"
' || { fail 'the images are made'; done_testing; exit; }

# What a name may be.
for name in base.raw ./base.raw file:base.raw a.qcow2 file:a.qcow2 sub/rel.qcow2 r1000 empty one \
	/dev/null file:/dev/null host_device:/dev/null null-co:// null-aio:// null-co: null-co:x \
	nope file:nope '' . sub foo:bar ./foo:bar :foo 'foo bar:x' raw:base.raw qcow2:a.qcow2 \
	sub/foo:bar 'json:{}' 'json:[]' 'json:1' 'json: {"filename":"base.raw"}' \
	'json:{"driver":"raw","file.filename":"base.raw"}' \
	'json:{"driver":"raw","file":{"driver":"file","filename":"base.raw"}}' \
	'json:{"file":{"filename":"a.qcow2"}}' 'json:{"file":"a.qcow2"}' \
	'json:{"driver":"file","filename":"base.raw"}' \
	'json:{"driver":"null-co","size":1048576}' "json:{'driver':'null-co'}" \
	'json:{"driver":"raw","size":512,"offset":1024,"file":{"filename":"base.raw"}}' \
	'json:{"size":512,"file":{"driver":"null-co","read-zeroes":true}}' \
	$'json:{"driver":"raw","size":512,"file":{"filename":"\u00e4 b\\"c.raw"}}'; do
	same_output info "$name"
done

# Definitions.
raw=driver=raw,file.filename=base.raw
for def in driver=file,filename=base.raw driver=qcow2,file.filename=a.qcow2 file.filename=a.qcow2 \
	driver=qcow2,file.driver=file,file.filename=a.qcow2 \
	filename=a.qcow2 file=a.qcow2 driver=qcow2,file=a.qcow2 driver=qcow2,filename=a.qcow2 \
	driver=qcow2 driver=raw driver=file driver=foo '' foo foo=bar \
	driver=raw,file.driver=foo,file.filename=base.raw driver=raw,file.foo=x \
	driver=raw,file.locking=off driver=raw,file.file.filename=base.raw \
	driver=qcow2,file.driver=raw,file.file.filename=a.qcow2 \
	driver=qcow2,file.driver=raw,file.offset=0,file.file.filename=a.qcow2 \
	driver=qcow2,file.driver=qcow2,file.file.filename=a.qcow2 \
	driver=qcow2,file.filename=base.raw driver=raw,file.filename=nope \
	driver=raw,file.filename=file:base.raw driver=raw,file.filename=null-co:// \
	driver=null-co driver=null-co,size=1M driver=null-co,size=1000 driver=null-aio,size=0 \
	driver=null-co,filename=null-co:// file.driver=null-co \
	driver=raw,file.driver=null-co,file.size=1G driver=null-co,read-zeroes=on,latency-ns=5 \
	driver=host_device,filename=/dev/null driver=file,filename=/dev/null driver=host_device,filename=base.raw \
	"driver=raw,offset=512,size=512,file.driver=raw,file.size=2048,file.file.filename=base.raw" \
	$raw,foo=bar $raw,file.foo=bar $raw,backing.driver=raw $raw,backing=null $raw,id=x \
	$raw,cache=none $raw,cache.writeback=off \
	driver=qcow2,file.filename=a.qcow2,foo=bar driver=qcow2,file.filename=a.qcow2,foo.bar=1; do
	same_output info --image-opts "$def"
done
for opt in offset=0 offset=1 offset=512 offset=1000 offset=1k offset=1M offset=2M offset=abc offset=-1 \
	size=0 size=1 size=512 size=1000 size=1M size=1048577 size=abc size=-1 \
	offset=512,size=512 offset=512,size=200000000 \
	discard=ignore discard=off discard=unmap discard=on discard=foo \
	detect-zeroes=off detect-zeroes=on detect-zeroes=unmap detect-zeroes=foo \
	detect-zeroes=unmap,discard=unmap detect-zeroes=unmap,discard=off \
	cache.direct=on cache.direct=foo cache.no-flush=on cache.no-flush=x \
	read-only=on read-only=foo auto-read-only=on auto-read-only=x force-share=on force-share=x \
	node-name=a node-name=a.b node-name=1 node-name= node-name=a/b node-name=#block \
	node-name=aaaaaaaaaabbbbbbbbbbccccccccccd node-name=aaaaaaaaaabbbbbbbbbbccccccccccdd \
	file.read-only=on file.cache.direct=on file.discard=unmap file.node-name=x \
	file.locking=on file.locking=auto file.locking=off; do
	same_output info --image-opts "$raw,$opt"
done

# -f
same_output info -f raw a.qcow2
same_output info -f qcow2 base.raw
same_output info -f foo base.raw
same_output info -f file base.raw
same_output info -f null-co base.raw
same_output info -f qcow2 'json:{"driver":"raw","file":{"filename":"a.qcow2"}}'
same_output info -f raw --image-opts $raw
same_output map -f foo base.raw
same_output check -f foo base.raw
same_output compare -f foo base.raw base.raw
same_output compare -F foo base.raw base.raw

# Backing files.
q=driver=qcow2,file.filename
same_output map b1.qcow2
same_output map b2.qcow2
same_output map sub/rel.qcow2
same_output map gone.qcow2
same_output map gone2.qcow2
same_output map $'json:{"driver":"qcow2","file":{"filename":"gone.qcow2"},"backing":null}'
same_output map $'json:{"driver":"qcow2","file":{"filename":"b1.qcow2"},"backing":"x"}'
for def in $q=b1.qcow2,backing.driver=qcow2 $q=b1.qcow2,backing.file.filename=a.qcow2 \
	$q=b1.qcow2,backing.driver=qcow2,backing.file.filename=a.qcow2 \
	$q=b1.qcow2,backing.size=32k $q=b1.qcow2,backing.foo=x $q=b1.qcow2,backing=foo \
	$q=gone.qcow2,backing.file.filename=base.raw $q=a.qcow2,backing.driver=raw \
	$q=a.qcow2,backing.driver=raw,backing.file.filename=base.raw; do
	same_output map --image-opts "$def"
done

# External data files.
same_output map d.qcow2
same_output map e.qcow2
same_output info e.qcow2
for def in data-file.filename=d.raw data-file.driver=file,data-file.filename=d.raw \
	data-file.driver=raw,data-file.file.filename=d.raw data-file.filename=nope \
	data-file.driver=qcow2,data-file.file.filename=d.raw data-file=x data-file.foo=x; do
	same_output map --image-opts "$q=e.qcow2,$def"
done
same_output map --image-opts "$q=a.qcow2,data-file.filename=d.raw"

done_testing
