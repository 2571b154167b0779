#!/bin/bash
# amend: what is ours alone.
. "${0%/*}/../tap.sh"

ok platter create -q -f qcow2 a.qcow2 1M
ok platter amend --options refcount_bits=8 --quiet a.qcow2
is "$out$err" '' 'says nothing'
like "$(platter info a.qcow2)" 'refcount bits: 8' 'done'

# what loses data wants --force, but not under the peer's name
before=$(cksum <a.qcow2)
exits 1 platter amend -o size=512k a.qcow2
like "$err" '--force does it all the same' 'a smaller disk'
is "$(cksum <a.qcow2)" "$before" 'nothing was changed'
ok platter amend --force -o size=512k a.qcow2
ok qimg amend -o size=256k a.qcow2
ok platter bitmap --add a.qcow2 b
exits 1 platter amend -o refcount_bits=16,compat=0.10 a.qcow2
like "$err" 'persistent bitmaps' 'bitmaps are not lost unasked'
like "$(platter info a.qcow2)" 'refcount bits: 8' 'and nothing else was changed'
ok platter amend --force -o refcount_bits=16,compat=0.10 a.qcow2
ok platter check -q a.qcow2
unlike "$(platter info a.qcow2)" bitmap 'now there are none'

# all is checked before anything is changed
ok platter create -q -f qcow2 -o extended_l2=on b.qcow2 1M
before=$(cksum <b.qcow2)
exits 1 platter amend -o lazy_refcounts=off,size=2M,compat=0.10 b.qcow2
is "$(cksum <b.qcow2)" "$before" 'a downgrade that is refused changes no size'

exits 1 platter amend -o backing_file=x a.qcow2
like "$err" "You can use 'platter rebase' instead" 'our own name'
exits 1 platter amend a.qcow2
exits 1 platter amend -o compat=1.1 no-such-file
exits 1 platter amend -o compat=1.1 a.qcow2 b.qcow2
exits 1 platter amend -o compat=1.1 --object secret,id=a a.qcow2
ok platter amend -f qcow2 -o help
like "$out" 'refcount_bits=<num>' 'help of options'
ok platter amend --help

run platter amend -p -o refcount_bits=32,compat=1.1 a.qcow2
like "$out" '\(100\.00/100%\)' 'progress'

# version 2 with snapshots that say too little of themselves: version 3 wants to know
ok platter create -q -f qcow2 -o compat=0.10 c.qcow2 1M
ok platter snapshot -c one c.qcow2
off=$((16#$(od -An -tx1 -j64 -N8 c.qcow2 | tr -d ' ')))
extra=$((16#$(od -An -tx1 -j$((off + 36)) -N4 c.qcow2 | tr -d ' ')))
# an entry as old programs wrote it: no extra data, the id and the name right behind
dd if=c.qcow2 of=names bs=1 skip=$((off + 40 + extra)) count=8 status=none
dd if=names of=c.qcow2 bs=1 seek=$((off + 40)) conv=notrunc status=none
printf '\0\0\0\0' | dd of=c.qcow2 bs=1 seek=$((off + 36)) conv=notrunc status=none
ok platter snapshot -l c.qcow2
like "$out" one 'an old snapshot'
ok platter amend -o compat=1.1 c.qcow2
ok platter check -q c.qcow2
ok platter resize -q c.qcow2 2M
ok platter snapshot -a one c.qcow2
like "$(platter info c.qcow2)" '1 MiB' 'it knows its size'
done_testing
