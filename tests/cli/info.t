#!/bin/bash
# info: what it prints under our own name, of names that are meant to hurt, and how little
# it opens.
. "${0%/*}/../tap.sh"

truncate -s 1M disk
exits 0 platter info disk
is "$(sed 's/^\( *disk size\): .*/\1/' .out)" "image: disk
file format: raw
virtual size: 1 MiB (1048576 bytes)
disk size
Child node '/file':
    filename: disk
    protocol type: file
    file length: 1 MiB (1048576 bytes)
    disk size" 'raw'
exits 0 platter info --output json disk
is "$(sed 's/\("actual-size"\): .*/\1/' .out)" '{
    "children": [
        {
            "name": "file",
            "info": {
                "children": [
                ],
                "virtual-size": 1048576,
                "filename": "disk",
                "format": "file",
                "actual-size"
                "format-specific": {
                    "type": "file",
                    "data": {
                    }
                },
                "dirty-flag": false
            }
        }
    ],
    "virtual-size": 1048576,
    "filename": "disk",
    "format": "raw",
    "actual-size"
    "dirty-flag": false
}' 'JSON has the children'
exits 0 qimg info --output=json disk
unlike "$out" children 'but not as qemu-img'
unlike "$(qimg info disk)" 'Child node' 'nor for people'

# options anywhere, the last one wins
exits 0 platter info disk --output=human --output=json -f raw
like "$out" '^\{' 'the last of a repeated option wins'
exits 0 platter info --out json --force -- disk
like "$out" '^\{' 'abbreviations'
exits 1 platter info disk -f qcow2
is "$err" "platter: Could not open 'disk': Image is not in qcow2 format" 'not qcow2'
exits 1 platter info --object secret,id=a disk
like "$err" "'file' or 'data'" 'an object without contents'

# a chain
qimg create -q -f qcow2 base.qcow2 1M || fail 'create works'
mkdir sub
qimg create -q -f qcow2 -b ../base.qcow2 -F qcow2 sub/top.qcow2
exits 0 platter info sub/top.qcow2
like "$out" 'backing file: ../base.qcow2 \(actual path: sub/../base.qcow2\)' 'the full path'
exits 0 qimg info --backing-chain --output=json sub/top.qcow2
is "$(grep -c '"format": "qcow2"' <<<"$out")" 2 'both images'
mv base.qcow2 away
exits 0 qimg info sub/top.qcow2
exits 1 qimg info --backing-chain sub/top.qcow2
like "$err" 'No such file or directory' 'a missing backing file'
is "$out" '' 'and nothing is printed'

# What an image names is followed as a plain path only.
for evil in 'json:{"driver":"file","filename":"disk"}' 'nbd://localhost/x' 'file:disk' \
	'null-co://'; do
	qimg create -q -f qcow2 -u -b "$evil" -F raw evil.qcow2 1M
	exits 0 -n "named: $evil" platter info evil.qcow2
	like "$out" 'backing file: ' 'it is shown'
	exits 1 -n "not followed: $evil" platter info --backing-chain evil.qcow2
	like "$err" 'only plain paths' 'and refused'
done

# A loop, by two spellings of one name
qimg create -q -f qcow2 l1 1M
qimg create -q -f qcow2 -b l1 -F qcow2 l2
mv l2 l3
qimg create -q -f qcow2 -u -b ./l3 -F qcow2 l1 1M
qimg create -q -f qcow2 -u -b l1 -F qcow2 l3 1M
exits 1 platter info --backing-chain l1
like "$err" 'creates an infinite loop' 'a loop is found'

# Control characters of an image must not reach a terminal as they are.
name=$'esc\e[31m'
qimg create -q -f qcow2 -u -b "$name" -F raw evil.qcow2 1M
exits 0 platter info evil.qcow2
like "$out" 'backing file: esc\\x1b\[31m' 'escapes are shown, not sent'

# What is no image
mkdir dir
exits 1 platter info dir
like "$err" 'dir' 'a directory'
mkfifo pipe
exits 1 platter info pipe
like "$err" 'pipe' 'a FIFO is not waited for'
: >empty
exits 0 platter info empty
like "$out" 'virtual size: 0 B \(0 bytes\)' 'an empty file'
exits 0 platter info --image-opts driver=null-co,size=1T
like "$out" 'virtual size: 1 TiB' 'a disk of nothing'

# --limits
platter create -q -f qcow2 -o extended_l2=on sub.qcow2 1M
exits 0 platter info --limits --output json sub.qcow2
like "$out" '"discard-alignment": 65536' 'discards are of clusters'
like "$out" '"write-zeroes-alignment": 2048' 'zeros are of subclusters'
exits 0 platter info --limits sub.qcow2
like "$out" 'request alignment: 1' 'limits for people'

# small: within limits that callers set
if [ -z "$SANITIZED" ]; then
	ok -n 'in 64 MiB of address space' bash -c 'ulimit -v 65536; exec "$0" info disk' "$PLATTER"
else
	skip 1 'sanitizers need room'
fi
done_testing
