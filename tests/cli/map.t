#!/bin/bash
# map under our own name, and what it must not do.
. "${0%/*}/../tap.sh"

truncate -s 1M sparse
printf x | dd of=sparse bs=1 seek=70001 conv=notrunc status=none

run platter map --output=json sparse
is "$(head -n 1 <<<"$out")" \
	'[{ "start": 0, "length": 69632, "depth": 0, "present": true, "zero": true, "data": false, "compressed": false, "offset": 0},' \
	'the key "compressed", as newer peers have it'
run qimg map --output=json sparse
unlike "$out" compressed 'but not under the name qemu-img'
ok -n 'valid JSON' sh -c '"$PLATTER" map --output=json sparse | perl -MJSON::PP -e "
	local \$/; my \$j = decode_json(<STDIN>);
	my \$at = 0; for (@\$j) { die if \$_->{start} != \$at; \$at += \$_->{length} }
	die if \$at != 1 << 20"'
is "$err" '' 'nothing on stderr'

# options where people put them, the last one wins
run platter map sparse --output=json --start-offset=1 --output human -s 512k
is "$out" 'Offset          Length          Mapped to       File' 'options after the name'
is "$rc" 0 'exit 0'

exits 1 platter map --object secret,id=s sparse
like "$err" "'file' or 'data'" 'an object without contents'
exits 1 platter map no-such-file
is "$out" '' 'nothing on stdout when it cannot be opened'
exits 1 platter map .
exits 1 platter map --output=json sparse /dev/full
exits 0 platter map --help
like "$out" '--start-offset' '--help names the options'
ok -n 'a reader that leaves early' sh -c '"$PLATTER" map --output=json sparse | head -c 1'

# lost output is an error
if [ -w /dev/full ]; then
	platter map sparse >/dev/full 2>"$T/.err"
	is $? 1 'a full disk below stdout'
else
	skip 1 'no /dev/full'
fi

# a disk of 8 EiB in a small file costs nothing
truncate -s 7E huge 2>/dev/null || truncate -s 15T huge
ok -n 'a huge hole' platter map --output=json huge
is "$(wc -l <"$T/.out")" 1 'is one line'

done_testing
