#!/bin/bash
# commit: what needs no peer to be judged.
. "${0%/*}/../tap.sh"

make_chain() { # SIZE: base, mid and top, and all of the disk in want
	rm -f base mid top want
	head -c 3M /dev/urandom >base
	platter create -q -f qcow2 -b base -F raw mid "$1"
	platter create -q -f qcow2 -b mid -F qcow2 top "$1"
	head -c 1M /dev/urandom >part
	platter convert -n -f raw -O qcow2 part mid
	platter convert -q -O raw mid want
	platter rebase -q -b mid -F qcow2 top
}
depth0() { platter map --output=json "$1" | grep -c '"depth": 0'; }

make_chain 3M
platter rebase -q -u -b want -F raw top
ok platter rebase -b base -F raw top
platter convert -q -O raw top got
ok -n 'the disk is the same over another file' cmp want got
ok platter commit top
is "$out" 'Image committed.' 'it is said'
ok -n 'the base is the disk' cmp want base
is "$(depth0 top)" 0 'the image is empty'
is "$(stat -c %s top)" 262144 'and short'
exits 0 platter commit -q top
is "$out" '' 'not with -q'
is "$(sha256sum <base)" "$(sha256sum <want)" 'nothing to do'

# what is asked for and cannot be
exits 1 platter commit base
like "$err" 'does not have a backing file' 'no backing file'
exits 1 platter commit -b nothing top
like "$err" "Did not find 'nothing' in the backing chain of 'top'" 'no such base'
exits 1 platter commit top top
exits 1 platter commit --object secret,id=a top
mkdir dir
cp base dir/base
chmod 444 dir/base
platter create -q -f qcow2 -b base -F raw dir/over
if [ "$(id -u)" != 0 ]; then
	exits 1 platter commit dir/over
	like "$err" 'Permission denied' 'a base that may only be read'
fi

# the base names a file that is not to be opened
platter create -q -f qcow2 -u -b nbd://127.0.0.1/x -F raw bad 1M
exits 1 platter commit bad
like "$err" 'only plain paths' 'a name with a scheme is not followed'
platter create -q -f qcow2 -u -b json:x -F raw bad 1M
exits 1 platter commit -b json:x bad

# --image-opts says what is below
make_chain 2M
cp mid kept
ok platter commit --image-opts driver=qcow2,file.filename=top,backing.driver=qcow2,backing.file.filename=kept
ok -n 'another base than the named one' platter compare -q kept top

# the base grows, and what has no room is told, with the image as it was
if [ "$(id -u)" = 0 ] && mkdir small && mount -t tmpfs -o size=2m none small 2>/dev/null; then
	platter create -q -f qcow2 small/base 8M
	platter create -q -f qcow2 -b small/base -F qcow2 full
	head -c 5M /dev/urandom >data
	platter convert -n -f raw -O qcow2 data full
	platter convert -q -O raw full want
	exits 1 platter commit full
	like "$err" 'No space left' 'a base without room'
	platter convert -q -O raw full got
	ok -n 'nothing is lost' cmp want got
	umount small
else
	skip 3 'cannot mount'
fi

# a rate: half a megabyte, at one a second
make_chain 3M
platter rebase -q -u -b want -F raw top
head -c 512k /dev/urandom >part
platter convert -n -f raw -O qcow2 part top
start=$(date +%s%N)
ok platter commit -r 1M top
ok -n '-r holds it up' [ $((($(date +%s%N) - start) / 1000000)) -ge 400 ]

# -p, and a bar only for a terminal
make_chain 1M
ok platter commit -p top
like "$(tr '\r' '\n' <.out)" '\(100.00/100%\)' '-p'
done_testing
