#!/bin/bash
# External data files, both ways with the peer.
. "${0%/*}/../tap.sh"
. "$TOP/tests/interop/kit.sh"
skip_unless qemu-img qemu-io python3
peer_version "$PEER"

# The name of a data file is looked up from the current folder by the peer, from the
# image's by us at first: everything is done in one.
one_folder
cd ours || exit 1
noise src 3400007

for o in '' data_file_raw=on cluster_size=4k cluster_size=2M,data_file_raw=on \
	extended_l2=on preallocation=metadata preallocation=metadata,data_file_raw=on \
	preallocation=falloc preallocation=full,extended_l2=on; do
	for s in '' '-S 0'; do
		name="data file, ${o:-plain}${s:+, $s}"
		rm -f w w.data r r.data back
		# shellcheck disable=SC2086
		ok -n "we write: $name" qimg convert $s -f raw -O qcow2 \
			-o data_file=w.data${o:+,$o} src w || continue
		ok -n "$name: sound" peer check -q w
		ok -n "$name: the same disk" peer compare -q -f raw -F qcow2 src w
		same_disk -n "$name" ours/src ours/w
		# shellcheck disable=SC2086
		peer convert $s -f raw -O qcow2 -o data_file=r.data${o:+,$o} src r
		if [[ $o = *_raw=on* ]]; then
			ok -n "$name: the file is the disk" peer compare -q -f raw -F raw src w.data
			is "$(stat -c %s w.data)" 3400192 "$name: the file is as long as the disk"
		fi
		cd ..
		same_output -n "$name: check" check --output=json r
		same_output -n "$name: map" map --output=json r
		same_output -n "$name: info" info --output=json r
		cd ours || exit 1
		ok -n "$name: we read" qimg convert -O raw r back
		ok -n "$name: the same" peer compare -q -f raw -F raw src back
	done
done

# A backing file below it.
peer convert -f raw -O qcow2 src below
img -b below -F qcow2 -o data_file=over.data over 4M
io -c 'write -P 5 1M 100k' -c 'write -z 2M 100k' over
cd ..
same_output -n 'over a backing file: map' map --output=json over
cd ours || exit 1
peer convert -O raw over want
ok -n 'over a backing file: we read' qimg convert -O raw over back
ok -n 'over a backing file: the same' cmp want back
same_disk -n 'over a backing file' ours/want ours/over
ok -n 'we write over a backing file' qimg convert -B below -F qcow2 -O qcow2 \
	-o data_file=w.data over w
ok -n 'it is sound' peer check -q w
same_disk -n 'it is the same' ours/want ours/w

# Whose data file is missing or short.
mv r.data away
exits 1 -n 'no data file' qimg convert -O raw r none
is "$(wc -l <../.err) $(grep -c r.data ../.err)" '1 1' 'one line names it'
ok -n 'and no target' [ ! -e none ]
: >r.data
ok -n 'a data file that ends early reads as zeros' qimg convert -O raw r back
peer convert -O raw r want
ok -n 'as with the peer' cmp want back
cd "$T" || exit 1
done_testing
