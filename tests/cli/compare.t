#!/bin/bash
# compare: exit codes, and the same answer whatever the number of processors.
. "${0%/*}/../tap.sh"

head -c 6M /dev/urandom >a
cp a b
ok platter compare a b
is "$out" 'Images are identical.' 'identical'
is "$err" '' 'and nothing on stderr'
for at in 5000000 4000000 3999999 300000; do
	printf '\0' | dd of=b bs=1 seek=$at conv=notrunc status=none
	printf '\1' | dd of=a bs=1 seek=$at conv=notrunc status=none
done
for n in 1 2 3 4 5; do
	run platter compare a b
	is "$rc:$out" '1:Content mismatch at offset 299520!' "the first of four, run $n"
done
if command -v taskset >/dev/null; then
	run taskset -c "$(taskset -pc $$ | sed 's/.*: //; s/[-,].*//')" "$PLATTER" compare a b
	is "$rc:$out" '1:Content mismatch at offset 299520!' 'on one processor'
else
	skip 1 'no taskset'
fi
exits 1 platter compare -q a b
is "$out$err" '' '-q says nothing'

truncate -s 1M one
truncate -s 2M two
exits 0 platter compare one two
like "$out" 'Warning: Image size mismatch!' 'a longer hole is a warning'
exits 1 platter compare -s one two
is "$out" 'Strict mode: Image size mismatch!' 'or, strictly, a difference'

exits 2 platter compare one no-such-file
exits 2 platter compare -f qcow2 one two
exits 2 platter compare -T quick one two
exits 1 platter compare one
exits 1 platter compare one two three

run platter compare -p a a
like "$out" '\(0.00/100%\).*\(100.00/100%\)' '-p shows progress'

done_testing
