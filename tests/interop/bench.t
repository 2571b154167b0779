#!/bin/bash
# shellcheck disable=SC2119
# bench, as the peer prints it; only the time differs.
. "${0%/*}/../tap.sh"
. "$TOP/tests/interop/kit.sh"
skip_unless qemu-img qemu-io
peer_version

one_folder
cd ours || exit 1
truncate -s 1M a.raw
truncate -s 1000 odd
img a.qcow2 16M
img 512k.qcow2 512k
same() { same_output -f 's/in [0-9]+\.[0-9]{3} seconds/in TIME/' bench "$@"; }
cd "$T" || exit 1

same -c 100 a.raw
same -c 10 a.qcow2
same -f raw -c 10 odd -s 500
same a.qcow2 # all defaults
same -f raw -c 10 -q a.raw
same -f raw -c 10 -w a.raw
same -c 10 -w a.raw # the warning that it was taken for raw
same -f raw -c 0 a.raw
same -f raw -c 0 -d 0 a.raw
same -c 100 -d 1 -w a.qcow2
same -c 1000 -d 100000 a.qcow2

# how numbers and sizes are read
for c in -1 3000000000 1x x '' ' 10' 010 0x10 +10 10.5 1k; do
	same -f raw -c "$c" a.raw
done
for d in x 99999999999 -1 2k ''; do
	same -f raw -c 3 -d "$d" a.raw
done
for s in 0 1 513 2G 1x -1 '' 2147483648 1.5k; do
	same -f raw -c 3 -s "$s" a.raw
	same -f raw -c 3 -S "$s" a.raw
	same -f raw -c 3 -o "$s" a.raw
done
same -f raw -c 3 -o 9E a.raw
for p in 300 255 -1 x 0x41 256 ''; do
	same -f raw -c 3 -w --pattern="$p" a.raw
done
same -f raw -c 3 --pattern=1 a.raw
for f in x -1 0 1 3 64 99999999999 ''; do
	same -f raw -c 10 -w --flush-interval="$f" a.raw
	same -f raw -c 10 --flush-interval="$f" a.raw
	same -f raw -c 10 -w -d 2 --no-drain --flush-interval="$f" a.raw
	same -f raw -c 10 -w -d 64 --no-drain --flush-interval="$f" a.raw
done

# past the end
same -f raw -c 3 -d 1 -o 1M a.raw
same -f raw -c 3 -d 1 -o 2M a.raw
same -f raw -c 3 -d 1 -o 1022k a.raw
same -f raw -c 3 -d 1 -o 1022k -w a.raw
same -f raw -c 3 -d 1 -s 2M a.raw
same -f raw -c 1000 -d 1 -S 6000 a.raw
same -f raw -c 1000 -d 1 -S 3k -s 1k a.raw
same -c 1000 -d 1 -s 64k -S 448k 512k.qcow2

# how it is opened
same -f raw -c 1 -i foo a.raw
for i in threads native io_uring; do
	same -f raw -c 1 -i $i a.raw
	same -f raw -c 1 -i $i -t none a.raw
	same -f raw -c 1 -i $i -t directsync a.raw
done
same -f raw -c 1 -n a.raw
same -f raw -c 1 -n -t none a.raw
same -n no-such-file
same -n -f foo a.raw
for t in none writeback writethrough directsync unsafe foo ''; do
	same -f raw -c 3 -w -t "$t" a.raw
done
same -f raw -U -w -c 1 a.raw
same -f raw -U -c 1 a.raw
same --image-opts -c 1 driver=raw,file.filename=a.raw
same --image-opts -f raw -c 1 driver=raw,file.filename=a.raw
same -f foo -c 1 a.raw
same -f qcow2 -c 1 a.raw
same -c 1 no-such-file
same -c 1
same -c 1 a b
same -z a.raw
same -c
same --object secret,id=s,data=x a.raw

# of several mistakes the first
same -c 3 -t xx -f xx a.raw
same -t xx -c 3x a b
same -c 3x a b
same --flush-interval=3 a b
same --image-opts -f raw -w --no-drain --flush-interval=3 a.raw

# what is written is there, and sound
for args in '-s 4k -S 68k -c 200 -d 1' '-s 4k -S 68k -c 200 -d 32' '-s 64k -c 100 -d 64' \
	'-s 3000 -S 100000 -c 60 -d 8' '-s 4k -S 68k -c 200 -d 8 --flush-interval=10' \
	'-s 4k -S 68k -c 200 -d 16 -t none' '-s 1M -S 1M -c 16 -d 3'; do
	qimg create -q -f qcow2 ours/w 16M
	peer create -q -f qcow2 ours/r 16M
	# shellcheck disable=SC2086
	qimg bench -w --pattern=0x5a $args ours/w >/dev/null || fail "bench $args"
	# shellcheck disable=SC2086
	peer bench -w --pattern=0x5a $args ours/r >/dev/null || fail "the peer's bench $args"
	ok -n "$args: sound" peer check -q ours/w
	ok -n "$args: the same disk" peer compare -q ours/w ours/r
done

done_testing
