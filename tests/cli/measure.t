#!/bin/bash
# measure: what is ours alone.
. "${0%/*}/../tap.sh"

truncate -s 1000 odd
ok platter measure odd
is "$out" 'required size: 1024
fully allocated size: 1024' 'raw: whole sectors'
ok platter measure --size 1G -O qcow2 --output json
is "$out" '{
    "required": 393216,
    "fully-allocated": 1074135040
}' 'JSON'
ok platter measure -o help -O qcow2 odd
like "$out" 'cluster_size' '-o help lists the options of the format'
exits 1 platter measure -l snap odd
like "$err" "does not support temporarily loading" "-l of a format without snapshots"
exits 1 platter measure --size 1G odd
exits 1 platter measure -O vhd --size 1G
like "$err" "Unknown file format 'vhd'" 'an unknown format'

# what is measured is what is needed
ok platter create -q -f qcow2 -o preallocation=metadata image.qcow2 100M
run platter measure -O qcow2 -o preallocation=metadata --size 100M
is "$(stat -c %s image.qcow2)" "$(sed -n 's/fully.*: //p' <<<"$out")" 'a file of that length'

done_testing
