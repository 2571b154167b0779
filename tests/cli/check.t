#!/bin/bash
# check: what is ours alone.
. "${0%/*}/../tap.sh"

truncate -s 1M raw
exits 63 platter check -f raw raw
like "$err" 'does not support checks' 'raw cannot be checked'
exits 1 platter check no-such-file
exits 1 platter check
exits 1 platter check --output=xml raw

ok platter create -q -f qcow2 image.qcow2 64M
before=$(cksum <image.qcow2)
exits 0 platter check image.qcow2
is "$out" 'No errors were found on the image.
Image end offset: 262144' 'a new image is sound'
exits 0 platter check -q image.qcow2
is "$out$err" '' '-q says nothing'
exits 0 platter check --output=json image.qcow2
like "$out" '"check-errors": 0' 'JSON'

exits 1 platter check -r most image.qcow2
like "$err" "expecting 'leaks' or 'all'" 'an unknown -r'
is "$(cksum <image.qcow2)" "$before" 'and the image is as it was'

# a dirty image is looked at, not refused and not cleaned
printf '\1' | dd of=image.qcow2 bs=1 seek=79 conv=notrunc status=none
before=$(cksum <image.qcow2)
exits 0 platter check image.qcow2
is "$(cksum <image.qcow2)" "$before" 'a dirty image stays dirty'

done_testing
