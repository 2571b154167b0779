#!/bin/bash
# shellcheck disable=SC2094
# rebase: what needs no peer to be judged.
. "${0%/*}/../tap.sh"

head -c 3M /dev/urandom >old
cp old new
head -c 70000 /dev/urandom | dd of=new bs=1 seek=1000000 conv=notrunc status=none
depth0() { platter map --output=json "$1" | grep '"depth": 0' | grep -c '"present": true'; }

platter create -q -f qcow2 -b old -F raw disk
ok platter rebase -b new -F raw disk
is "$out$err" '' 'nothing is said'
platter convert -q -O raw disk got
ok -n 'the disk is the same' cmp old got
is "$(depth0 disk)" 1 'what differs was written'
ok platter rebase -b old -F raw disk
ok platter rebase -b new -F raw disk
is "$(stat -c %s disk)" $((5 * 65536 + 2 * 65536)) 'and nothing else, nor twice'

# -c
text() { seq 1 400000 | head -c "$1"; }
text 2M >text
platter create -q -f qcow2 -b text -F raw packed
ok platter rebase --compress -b '' packed
ok -n 'compressed' [ "$(stat -c %s packed)" -lt 1200000 ]
ok -n 'and the same' platter compare -q -f raw text packed
ok platter check -q packed
exits 1 platter rebase -c -f raw -b '' text
like "$err" 'not supported' 'raw files have no backing file'

# long names of options
platter create -q -f qcow2 -b old -F raw disk
ok platter rebase --backing new --backing-format raw --cache none --backing-cache none \
	--format qcow2 --force-share --progress --quiet disk
is "$out" '' '-q wins over -p'
ok platter rebase --backing-unsafe --backing nowhere --backing-format raw disk
like "$(platter info disk)" 'backing file: nowhere' 'only the name'
exits 1 platter rebase disk
like "$err" 'Must specify backing file' '-b or -u'
exits 1 platter rebase -b new disk
like "$err" "Could not open backing file" 'the old one is gone'
platter create -q -f qcow2 -b old -F raw disk
exits 1 platter rebase -b new disk
like "$err" 'backing format must be specified' '-F is a must'
is "$(depth0 disk)" 0 'before anything is written'

# below itself
exits 1 platter rebase -b disk -F qcow2 disk
exits 1 platter rebase -U -b disk -F qcow2 disk
like "$err" 'below itself' 'also where no lock tells'
exits 1 platter rebase -U -b disk -F raw disk
like "$err" 'below itself' 'or as what else it may be read'
platter create -q -f qcow2 -b disk -F qcow2 above
exits 1 platter rebase -U -b above -F qcow2 disk
like "$err" 'below itself' 'farther above, too'
like "$(platter info disk)" 'backing file: old' 'and it has what it had'

# what the image names is not followed, what the user says is
exits 1 platter rebase -b nbd://127.0.0.1:1/x -F raw disk
ok platter rebase -b "json:{\"driver\":\"raw\",\"file\":{\"driver\":\"file\",\"filename\":\"new\"}}" -F raw disk
exits 1 platter rebase -b old -F raw disk
like "$err" 'only plain paths' 'a json: name inside is refused'
ok platter rebase -u -b new -F raw disk
platter convert -q -O raw disk got
ok -n 'still the same' cmp old got

# a name that does not fit
platter create -q -f qcow2 -o cluster_size=512 -b old -F raw tiny
exits 1 platter rebase -u -b "$(printf '%0500d' 0)" -F raw tiny
like "$err" 'No space left in the file header' 'no room for the name'
like "$(platter info tiny)" 'backing file: old' 'and it has what it had'

# no disk at all
platter create -q -f qcow2 empty 0
ok platter rebase -b old -F raw empty
ok platter rebase -b '' empty
done_testing
