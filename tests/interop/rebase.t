#!/bin/bash
# shellcheck disable=SC2046,SC2086,SC2119,SC2154
# rebase against the peer: words and exit codes, and that the disk stays the same, whatever is
# below it and what comes there; read by the peer and by reader.py.
. "${0%/*}/../tap.sh"
. "$TOP/tests/interop/kit.sh"
skip_unless qemu-img qemu-io python3
peer_version

# ---- words and exit codes ------------------------------------------------------------------
make_three() {
	peer create -q -f qcow2 a 1M
	peer create -q -f qcow2 b 2M
	peer create -q -f raw raw 1M
	peer create -q -f qcow2 -b a -F qcow2 t
	peer create -q -f qcow2 -b t -F qcow2 u
	rm -rf d && mkdir d
	peer create -q -f qcow2 d/b 1M
	peer create -q -f qcow2 -b ../a -F qcow2 d/t
}
export -f peer make_three
long=$(printf '%01023d' 0)
while read -r line; do
	eval "words=($line)"
	twins
	twin bash -c make_three
	name=${line//"$long"/LONG}
	same_output -n "${name:0:90}" rebase "${words[@]}"
	same_output -f '/actual-size/d' -n "${name:0:70}: info" info -U --output=json -f qcow2 t
done <<E2

t
-b b
-b b t u
-b b t
-b raw t
-b b -F foo t
-b '' -F foo t
-b '' -F qcow2 t
-b '' t
-u t
-u -F raw t
-u -b b t
-u -b b -F foo t
-u -b nope -F qcow2 t
-u -b t -F qcow2 t
-u -b u -F qcow2 t
-u -b nbd://nowhere/x -F raw t
-b t -F qcow2 t
-b u -F qcow2 t
-b nope -F qcow2 t
-b raw -F qcow2 t
-b b -F raw t
-b a -F qcow2 t
-b ./a -F qcow2 t
-b a -b b -F raw -F qcow2 t
-b b -F qcow2 nofile
-u -b b -F qcow2 nofile
-f foo -b b -F qcow2 t
-f raw -b b -F qcow2 t
-f raw -b b t
-f raw -b '' t
-u -f raw -b '' t
-t foo -T foo -b b -F qcow2 t
-T foo -b b -F qcow2 t
-t none -T none -b b -F qcow2 t
-t writethrough -T unsafe -b b -F qcow2 t
--image-opts -f qcow2 -b b -F qcow2 t
--image-opts -b b -F qcow2 driver=qcow2,file.filename=t
-b b -F qcow2 d/t
-b d/b -F qcow2 d/t
-U -b b -F qcow2 t
-q -b b -F qcow2 t
-p -q -b b -F qcow2 t
-p -u -b b -F qcow2 t
-u -b $long -F qcow2 t
-u -b ${long}0 -F qcow2 t
--nothing -b b t
E2
twins
twin bash -c make_three
twin @QIMG@ create -q -f qcow2 -o data_file=x.raw,data_file_raw=on x 1M
same_output -n 'a raw data file' rebase -u -b a -F qcow2 x
twin @QIMG@ create -q -f qcow2 -o cluster_size=512 -b a -F qcow2 small 1M
same_output -n 'a name that does not fit' rebase -u -b "${long:0:450}" -F qcow2 small
rm ours/a peer/a
same_output -n 'no old backing file' rebase -b b -F qcow2 t
same_output -n 'no old backing file, unsafe' rebase -u -b b -F qcow2 t
ok -n '-p: progress as the peer prints it' qimg rebase -p -b '' ours/t
like "$(tr '\r' '\n' <.out)" '^    \(0.00/100%\)
.*    \(100.00/100%\)$' 'from 0 to 100'

rm -rf ours peer && one_folder
(cd ours && make_three)
held -r t 'the image is being read' rebase -b b -F qcow2 t
held -r t 'the image is being read, unsafe' rebase -u -b b -F qcow2 t
held '' a 'the old backing file is being written' rebase -b b -F qcow2 t
held '' a 'the old backing file is being written, -U' rebase -U -b b -F qcow2 t
held '' b 'the new backing file is being written' rebase -b b -F qcow2 t
held -r b 'the new backing file is being read' rebase -b b -F qcow2 t
held '' b 'the new backing file is being written, -U' rebase -U -b b -F qcow2 t
rm -rf ours peer

# ---- from no backing file to one ----------------------------------------------------------
for o in cluster_size=64k cluster_size=64k,compat=0.10 cluster_size=16k,extended_l2=on; do
	cd "$T" && rm -rf m && mkdir m && cd m || exit 1
	noise below 1500160
	img -o $o top 2097152
	io -c 'write -P 5 100k 70k' -c 'write -z 400k 64k' -c 'discard 100k 64k' top
	peer convert -O raw top ../want
	ok -n "from none ($o)" qimg rebase -b below -F raw top
	cd "$T" || exit 1
	ok -n "from none ($o): the same to the peer" peer compare -q -f raw want m/top
	ok -n "from none ($o): sound" peer check -q m/top
done

# ---- the disk stays the same ---------------------------------------------------------------
# same_as NAME IMAGE: its disk is want, and it is sound
same_as() {
	ok -n "$1: the same to the peer" peer compare -q -f raw want "$2"
	same_disk -n "$1: the same to reader.py" want "$2"
	ok -n "$1: sound" peer check -q "$2"
	ok -n "$1: sound to us" qimg check -q "$2"
}

v3=cluster_size=64k v2=cluster_size=64k,compat=0.10
n=0
for top in $v3 $v2 cluster_size=4k cluster_size=128k,extended_l2=on cluster_size=2M; do
	for old in raw:600000 raw:1000100 qcow2:3M raw:2097152; do
		for new in qcow2:1M raw:700001 raw:3M qcow2:2097152; do
			n=$((n + 1))
			# each of the peer's kinds of top with some of what may be below
			[ $(((n + n / 4) % 2)) = 0 ] || continue
			cd "$T" && rm -rf m && mkdir m && cd m || exit 1
			layer "old.${old%:*}" "${old%:*}" '' "${old#*:}" 2
			layer "new.${new%:*}" "${new%:*}" '' "${new#*:}" 3
			layer top qcow2 $top 2097152 4 "old.${old%:*}"
			peer convert -O raw top ../want
			cp top before
			name="$top over $old to $new"
			ok -n "$name" qimg rebase -b "new.${new%:*}" -F "${new%:*}" top
			cd "$T" || exit 1
			same_as "$name" m/top
			(cd m && peer rebase -b "new.${new%:*}" -F "${new%:*}" before) || fail "peer: $name"
			[[ $top == *extended* ]] || ok -n "$name: not larger than the peer's" \
				[ "$(stat -c %s m/top)" -le "$(stat -c %s m/before)" ]
			if [ $((n % 4)) = 0 ]; then
				ok -n "$name, then to none" qimg rebase -c -b '' m/top
				same_as "$name, then to none" m/top
				rm m/old.* m/new.*
				same_as "$name, then alone" m/top
			fi
		done
	done
done

# Chains, 1 to 4 deep, with a common lower end; a snapshot in the overlay.
for deep in 1 2 3 4; do
	for to in 0 1 2 3 4; do
		[ $to -le $deep ] || continue
		cd "$T" && rm -rf m && mkdir m && cd m || exit 1
		layer l1.qcow2 qcow2 $v3 3M 1
		for ((i = 2; i <= deep; i++)); do
			layer l$i.qcow2 qcow2 cluster_size=$((1 << (i % 3 * 4 + 3)))k $((4 - i))M $i \
				l$((i - 1)).qcow2
		done
		layer top qcow2 $v3 2M 5 l$deep.qcow2
		layer side.qcow2 qcow2 $v3 2M 6 $([ $to = 0 ] || echo l$to.qcow2)
		peer snapshot -c kept top
		io -c 'write -P 77 100k 100k' top
		peer convert -O raw top ../want
		[ $to = 0 ] && onto=side.qcow2 || onto=l$to.qcow2
		ok -n "$deep deep to $onto" qimg rebase -b $onto -F qcow2 top
		cd "$T" || exit 1
		same_as "$deep deep to $onto" m/top
		[ "$onto" != l$deep.qcow2 ] ||
			is "$(qimg map --output=json m/top | grep -c '"depth": 0')" \
				"$(qimg map --output=json m/top | grep '"depth": 0' | grep -c present)" \
				'nothing to do'
		(cd m && qimg rebase -b side.qcow2 -F qcow2 top) || fail "to side"
		same_as "$deep deep, then to side over $to" m/top
		(cd m && peer rebase -b $onto -F qcow2 top) || fail 'the peer: back'
		ok -n "$deep deep, back by the peer: we read the same" \
			qimg compare -q -f raw want m/top
		ok -n 'the snapshot is sound' peer snapshot -a kept m/top
		ok -n 'the snapshot is sound' peer check -q m/top
	done
done

# What is common is not read: it may be gone but for its header.
cd "$T" && rm -rf m && mkdir m && cd m || exit 1
peer create -q -f qcow2 low.qcow2 8M
io -c 'write -P 1 0 8M' low.qcow2
peer create -q -f qcow2 -b low.qcow2 -F qcow2 one.qcow2
peer create -q -f qcow2 -b low.qcow2 -F qcow2 two.qcow2
io -c 'write -P 2 1M 64k' one.qcow2
io -c 'write -P 3 2M 64k' two.qcow2
peer create -q -f qcow2 -b one.qcow2 -F qcow2 top
ok -n 'a common base' qimg rebase -b two.qcow2 -F qcow2 top
is "$(qimg map --output=json top | grep -o '"depth": 0' | wc -l)" 2 'only what differs is written'
is "$(stat -c %s top)" $(((5 + 2) * 65536)) 'two clusters'

# An external data file.
peer create -q -f qcow2 -o data_file=ext.raw -b one.qcow2 -F qcow2 ext
io -c 'write -P 4 3M 64k' ext
peer convert -O raw ext ../want
ok -n 'an external data file' qimg rebase -b two.qcow2 -F qcow2 ext
ok -n 'the same' peer compare -q -f raw ../want ext
ok -n 'sound' peer check -q ext
done_testing
