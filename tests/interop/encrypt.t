#!/bin/bash
# Encrypted qcow2 (LUKS and the legacy method) and qcow images, both ways with the peer: whole
# and partial writes, snapshots, backing files with keys of their own, resizing, key slots.
. "${0%/*}/../tap.sh"
. "$TOP/tests/interop/kit.sh"
skip_unless qemu-img qemu-io python3
peer_version qemu-img

one_folder
printf 'pass \xc3\xa9' >pw
S=(--object "secret,id=s,file=$T/pw" --object "secret,id=w,data=other")
at() { echo "driver=$1,encrypt.key-secret=${3:-s},file.filename=ours/$2"; }
noise ours/mixed 3000320
raw=driver=raw,file.filename=ours/mixed

# The peer measures its speed by a clock that loaded machines do not have.
peer_does() {
	local i
	for ((i = 0; i < 200; i++)); do
		[ "$1" != create ] || rm -f "${@: -2:1}"
		peer "$@" >.made 2>&1 && return
		grep -q 'accurate CPU' .made || break
	done
	fail "the peer: $*: $(cat .made)"
}
same() { # NAME FORMAT FILE [RAW]: both read it as RAW
	ok -n "$1: the peer reads it" peer compare -q "${S[@]}" --image-opts "${4:-$raw}" "$(at "$2" "$3")"
	ok -n "$1: we read it" qimg compare -q "${S[@]}" --image-opts "${4:-$raw}" "$(at "$2" "$3")"
	[ "$2" = qcow ] || ok -n "$1: sound" peer check -q "${S[@]}" --image-opts "$(at "$2" "$3")"
}

for k in qcow2,luks qcow2,luks,cluster_size=512 qcow2,luks,cluster_size=2M \
	qcow2,luks,extended_l2=on,cluster_size=16k qcow2,luks,compat=0.10 \
	qcow2,luks,encrypt.cipher-alg=serpent-256,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv \
	qcow2,aes qcow2,aes,cluster_size=4k qcow,aes; do
	f=${k%%,*} more=${k#*,} m=${more%%,*}
	more=${more#"$m"}
	o=encrypt.format=$m,encrypt.key-secret=s$more
	[ "$m" = aes ] || o+=,encrypt.iter-time=20
	rm -f ours/w ours/r
	ok -n "we make $k" qimg convert "${S[@]}" -f raw -O "$f" -o "$o" ours/mixed ours/w
	same "$k, ours" "$f" w
	peer_does create -q -f "$f" "${S[@]}" -o "$o" ours/r 3000320
	ok -n "$k: we write into the peer's" qimg convert -n "${S[@]}" --image-opts \
		--target-image-opts "$raw" "$(at "$f" r)"
	same "$k, the peer's" "$f" r
	same_output -n "$k: info" info r
	[ "$f" = qcow ] || same_output -n "$k: map" map --output=json "${S[@]}" --image-opts \
		"driver=$f,encrypt.key-secret=s,file.filename=r"
	# small writes into the same image, by both: what is around them stays
	for p in 7 8; do
		[ $p = 7 ] && i=w || i=r
		cp ours/mixed ours/want
		for w in '1024 3072' '65024 1024' '2999808 512' '1048576 70144'; do
			read -r off n <<<"$w"
			head -c "$n" /dev/zero | tr '\0' "\\$p" >ours/piece
			dd if=ours/piece of=ours/want bs=512 seek=$((off / 512)) conv=notrunc status=none
			if [ $p = 7 ]; then
				io "${S[@]}" --image-opts "$(at "$f" "$i")" -c "write -P $p $off $n"
			else
				ok -n "$k: we write $n bytes" qimg convert -n "${S[@]}" --image-opts \
					--target-image-opts driver=raw,file.filename=ours/piece \
					"driver=raw,offset=$off,size=$n,file.$(at "$f" "$i" | sed 's/,/,file./g')"
			fi
		done
		same "$k, then written to" "$f" "$i" driver=raw,file.filename=ours/want
	done
done

# ---- what else is done with them -----------------------------------------------------------
o=encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=20
qimg convert "${S[@]}" -f raw -O qcow2 -o "$o" ours/mixed ours/base
cp ours/base ours/w
ok -n 'a snapshot' qimg snapshot -c one --image-opts "${S[@]}" "$(at qcow2 w)"
io "${S[@]}" --image-opts "$(at qcow2 w)" -c 'write -P 1 0 1M'
ok -n 'applied' qimg snapshot -a one --image-opts "${S[@]}" "$(at qcow2 w)"
same 'after the snapshot' qcow2 w
ok -n 'resized' qimg resize -q --image-opts "${S[@]}" "$(at qcow2 w)" 4000256
cp ours/mixed ours/want
truncate -s 4000256 ours/want
same 'longer' qcow2 w driver=raw,file.filename=ours/want
ok -n 'resized again' qimg resize -q --shrink --image-opts "${S[@]}" "$(at qcow2 w)" 1000448
ok -n 'and again' qimg resize -q --image-opts "${S[@]}" "$(at qcow2 w)" 1100288
truncate -s 1000448 ours/want
truncate -s 1100288 ours/want
same 'shrunk and grown' qcow2 w driver=raw,file.filename=ours/want

# an overlay with another key
qimg create -q -f qcow2 "${S[@]}" -o "${o/=s/=w}" -u -b base -F qcow2 ours/top 3000320
top="$(at qcow2 top w),backing.encrypt.key-secret=s"
io "${S[@]}" --image-opts "$top" -c 'write -P 3 100k 2000k' -c 'write -P 4 2M 512'
ok -n 'we write into it' qimg convert -n "${S[@]}" --image-opts --target-image-opts \
	driver=raw,file.filename=ours/mixed,size=4096 "driver=raw,size=4096,offset=1M,file.${top//,/,file.}"
peer convert "${S[@]}" --image-opts -O raw "$top" ours/want
ok -n 'an overlay and what is below it, each with its key' qimg compare -q "${S[@]}" --image-opts \
	driver=raw,file.filename=ours/want "$top"
ok -n 'encrypted to encrypted' qimg convert "${S[@]}" --image-opts -O qcow2 -o "${o/=s/=w}" \
	"$top" ours/x
ok -n 'the same disk' peer compare -q "${S[@]}" --image-opts driver=raw,file.filename=ours/want \
	"$(at qcow2 x w)"

# key slots
cp ours/base ours/w
I=driver=qcow2,encrypt.key-secret=s,file.filename=ours/w
ok -n 'a second key' qimg amend "${S[@]}" --image-opts "$I" \
	-o encrypt.state=active,encrypt.new-secret=w,encrypt.iter-time=20
ok -n 'it opens' peer compare -q "${S[@]}" --image-opts "$raw" "$(at qcow2 w w)"
ok -n 'the first goes' qimg amend "${S[@]}" --image-opts "$I" \
	-o encrypt.state=inactive,encrypt.old-secret=s
nok -n 'and opens no more' peer compare -q "${S[@]}" --image-opts "$raw" "$(at qcow2 w s)"
ok -n 'the second stays' peer compare -q "${S[@]}" --image-opts "$raw" "$(at qcow2 w w)"

# ---- refused ------------------------------------------------------------------------------
for a in 'convert -O raw base x' 'compare mixed base' 'resize base 5M' 'snapshot -c a base' \
	'amend -o lazy_refcounts=on base' 'convert -O qcow2 base x'; do
	# shellcheck disable=SC2086
	same_output -n "without key: $a" $a
done
for c in encryption=on encrypt.format=luks encrypt.format=foo,encrypt.key-secret=s \
	encrypt.key-secret=s encryption=on,encrypt.format=luks,encrypt.key-secret=s \
	encrypt.format=aes,encrypt.key-secret=s,encrypt.cipher-alg=aes-128 \
	encrypt.format=luks,encrypt.key-secret=zz encrypt.format=luks,encrypt.key-secret=s,encrypt.cipher-alg=x; do
	same_output -n "create -o $c" create -f qcow2 "${S[@]}" -o "$c" new 1M
done
same_output -n 'no compression beside it' convert "${S[@]}" -c -O qcow2 -o \
	encrypt.format=aes,encrypt.key-secret=s mixed new
ok -n 'without key: map' qimg map --output=json ours/base
ok -n 'without key: check' qimg check ours/base
ok -n 'without key: info' qimg info ours/base
done_testing
