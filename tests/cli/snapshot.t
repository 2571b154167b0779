#!/bin/bash
# snapshot: what is ours alone.
. "${0%/*}/../tap.sh"

ok platter create -q -f qcow2 disk 64M
head -c 3000000 /dev/urandom >one
head -c 3000000 /dev/urandom >two
truncate -s 64M one two
ok platter convert -n -f raw -O qcow2 one disk

# ---- the list ----------------------------------------------------------------------------------
ok platter snapshot disk
is "$out" '' 'no snapshots, no list'
ok platter snapshot --output json disk
is "$out" '[
]' 'but JSON'
ok platter snapshot -c first disk
ok platter snapshot --create second disk
ok platter snapshot disk
list=$out
ok platter snapshot -l disk
is "$out" "$list" 'the list is what is shown without an action'
ok platter snapshot --list -U disk
is "$out" "$list" '-U, --list'
like "$out" '^Snapshot list:
ID        TAG               VM SIZE                DATE     VM CLOCK     ICOUNT
1         first                 0 B 2[0-9]{3}-[01][0-9]-[0-3][0-9] [0-2][0-9]:[0-5][0-9]:[0-5][0-9] 00:00:00.000           
2         second ' 'the table'
ok platter snapshot --output json disk
like "$out" '"name": "first",
        "date-sec": [0-9]+,
        "date-nsec": [0-9]+,
        "vm-clock-sec": 0,
        "id": "1",
        "vm-state-size": 0,
        "disk-size": 67108864,
        "exclusive-size": 65536
' 'JSON with sizes'
unlike "$out" 'icount' 'no instructions were counted'

# ---- exclusive ---------------------------------------------------------------------------------
ok platter convert -n -f raw -O qcow2 two disk
ok platter snapshot --exclusive disk
like "$out" 'Space that only one snapshot holds:
ID        TAG                    SIZE
1         first                64 KiB
2         second               64 KiB$' 'what both hold is not exclusive'
ok platter snapshot -d first disk
ok platter snapshot --exclusive disk
like "$out" '2         second               +[2-4]([.][0-9]+)? MiB$' 'now the other holds it alone'

# ---- names and IDs -----------------------------------------------------------------------------
ok platter snapshot -c 2 disk
ok platter convert -n -f raw -O qcow2 one disk
ok platter snapshot -c 9 disk
ok -n 'apply: the ID wins' platter snapshot -a 2 disk
ok platter convert -O raw disk out
ok cmp out one
ok -n 'delete: the name wins' platter snapshot -d 2 disk
ok platter snapshot disk
like "$out" '
2         second' 'ID 2 is still there'
unlike "$out" '
3  ' 'name 2 is not'
ok -n 'delete: an ID, where no name fits' platter snapshot --delete 4 disk
exits 1 platter snapshot -d 9 disk
is "$err" "platter: Could not delete snapshot '9': snapshot not found" 'neither'
exits 1 platter snapshot -a none disk
is "$err" "platter: Could not apply snapshot 'none': The image has no such snapshot" \
	'apply of nothing'
long=$(printf 'x%.0s' {1..256})
exits 1 platter snapshot -c "$long" disk
like "$err" 'at most 255 bytes' 'a name that QEMU would cut'
ok platter snapshot -c "${long:1}" disk
ok platter snapshot -d "${long:1}" disk
ok platter snapshot -c $'a\e[2J' disk
ok platter snapshot disk
like "$out" 'a\\x1b\[2J' 'a terminal is not steered'

# ---- reading -----------------------------------------------------------------------------------
ok platter convert -n -f raw -O qcow2 two disk
for s in second 2 snapshot.id=2 snapshot.name=second snapshot.id=2,snapshot.name=second; do
	ok platter convert -l $s -O raw disk out
	ok -n "convert -l $s" cmp out one
done
ok platter measure -l second -O qcow2 disk
ok platter resize -q disk 80M
ok platter snapshot -c large disk
ok platter convert -l second -O raw disk out
is "$(stat -c %s out)" 67108864 'the size it had'
ok platter snapshot -a second disk
ok platter convert -O raw disk out
ok cmp out one
ok platter convert -l large -O raw disk out
is "$(stat -c %s out)" 83886080 'and the size that the other one had'
exits 1 platter convert -l none disk out
is "$err" "platter: Failed to load snapshot: Can't find snapshot" 'not there'
exits 1 platter convert -l snapshot.nome=none disk out
like "$err" "snapshot.nome" 'an unknown key'

# ---- what cannot be ----------------------------------------------------------------------------
exits 1 platter snapshot -c a -d b disk
like "$err" "Cannot mix '-l', '-a', '-c', '-d'" 'one action'
exits 1 platter snapshot -c a --output json disk
exits 1 platter snapshot -d second --exclusive disk
like "$err" 'for the list' 'what is printed is the list'
truncate -s 1M raw
exits 1 platter snapshot -f raw -c a raw
like "$err" "raw" 'raw has none'
ok platter snapshot -f raw raw
ok platter create -q -f qcow2 -o data_file=data,data_file_raw=on ext 1M
exits 1 platter snapshot -c a ext
like "$err" 'external data file' 'nor have images with their data elsewhere'
ok platter create -q -f qcow2 -o refcount_bits=1 narrow 64M
ok platter convert -n -f raw -O qcow2 one narrow
cp narrow before
exits 1 platter snapshot -c a narrow
like "$err" 'refcount .* 1 refcount bits' 'one bit is not enough for two'
ok platter check narrow
ok platter compare narrow before
ok platter bitmap --add disk dirty
exits 1 platter snapshot -a large disk
like "$err" 'active dirty bitmaps' 'bitmaps would have to know'
ok -n 'but a snapshot may be taken' platter snapshot -c with disk
ok platter bitmap --remove disk dirty
ok platter check disk

done_testing
