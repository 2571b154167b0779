#!/bin/bash
# check, byte for byte as the peer prints it, on sound and on damaged images.
. "${0%/*}/../tap.sh"
skip_unless qemu-img qemu-io
peer_version qemu-img

mkdir "$T/ours"
ln -s ours "$T/peer"
cd "$T/ours" || exit 1

img() { peer create -q -f qcow2 "$@" || fail "create $*"; }
io() { qemu-io "$@" >/dev/null || fail "qemu-io $*"; }
all() {
	same_output check "$@"
	same_output check --output=json "$@"
	same_output check -q "$@"
	same_output check -q --output=json "$@"
}

img empty 64M
img none 0
img data 64M
io -c 'write 0 1M' -c 'write -z 2M 1M' -c 'write 40M 64k' data
peer convert -c -O qcow2 data packed
io -c 'write 5M 1M' packed
img -b data -F qcow2 over
io -c 'write 3M 64k' over
img -o extended_l2=on sub 64M
io -c 'write 3k 64k' -c 'write 1M 2k' sub
img -o data_file=ext.raw ext 64M
io -c 'write 0 1M' ext
img -o preallocation=metadata ahead 64M
img -o cluster_size=512,compat=0.10 small 4M
io -c 'write 100k 300k' small
img -o refcount_bits=1 one_bit 64M
io -c 'write 0 1M' one_bit
img snap 64M
io -c 'write 0 1M' snap
peer snapshot -c first snap
io -c 'write 512k 1M' snap
truncate -s 1M raw
for i in empty none data packed over sub ext ahead small one_bit snap raw; do
	all $i
done
same_output check -f raw raw
same_output check -U data
same_output check -T none data
same_output check --image-opts driver=qcow2,file.filename=data
same_output check --output=json --image-opts driver=qcow2,file.filename=data

# Damage. `data` has its tables where a new image has them: refcount block at 0x20000,
# L1 at 0x30000, L2 at 0x40000, data from 0x50000 on.
put() { printf %b "$3" | dd of="$1" bs=1 seek=$(($2)) conv=notrunc status=none; }
ref() { put "$1" "0x20000 + 2 * $2" "\\0000\\000$3"; }
damaged() {
	local name=$1
	cp data "$name"
	shift
	"$@" "$name"
	all "$name"
}
leak1() { ref "$1" 7 2; }
leak3() { leak1 "$1"; ref "$1" 8 5; ref "$1" 9 2; }
lost1() { ref "$1" 7 0; }
lost3() { lost1 "$1"; ref "$1" 8 0; ref "$1" 9 0; }
mixed() { lost1 "$1"; ref "$1" 8 3; }
behind() { ref "$1" 60 1; }
only_leaks() {
	local n=$(($(stat -c %s "$1") / 65536))
	truncate -s +320k "$1"
	ref "$1" $n 1
	ref "$1" $((n + 1)) 2
}
reserved() { put "$1" 0x40000 '\0200\0\0\0\0\0\001\043'; }
outside() { put "$1" 0x40000 '\0200\0\001\0\0\0\0\0'; }
not_copied() { put "$1" 0x40000 '\0000'; }
twice() { put "$1" 0x40000 '\0200\0\0\0\0\006\0\0'; }
on_l1() { put "$1" 0x40000 '\0200\0\0\0\0\003\0\0'; }
l1_outside() { put "$1" 0x30000 '\0200\0\001\0\0\0\0\0'; }
l1_odd() { put "$1" 0x30000 '\0200\0\0\0\0\004\001\0'; }
table_outside() { put "$1" 0x10000 '\0\0\001\0\0\0\0\0'; }
table_odd() { put "$1" 0x10000 '\0\0\0\0\0\0\001\043'; }
no_table() { put "$1" 0x10000 '\0\0\0\0\0\0\0\0'; }
dirty() { put "$1" 72 '\0\0\0\0\0\0\0\001'; }
corrupt() { put "$1" 72 '\0\0\0\0\0\0\0\002'; }
cut() { truncate -s 500k "$1"; }
packed_outside() { put "$1" 0x40000 '\0100\0\0\0\0120\0\0\0'; }
for d in leak1 leak3 lost1 lost3 mixed behind only_leaks reserved outside not_copied twice \
	on_l1 l1_outside l1_odd table_outside table_odd no_table dirty corrupt cut \
	packed_outside; do
	damaged $d $d
done

# arguments
same_output check
same_output check a b
same_output check nofile
same_output check --output=json nofile
same_output check --output=x data
same_output check -r x data
same_output check -r
same_output check -T xx data
same_output check -f xx data
same_output check -f qcow2 raw
same_output check --image-opts -f qcow2 data
same_output check --foo data

done_testing
