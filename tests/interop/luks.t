#!/bin/bash
# luks beside the peer and cryptsetup: what one makes the others open, with every cipher, mode,
# vector and hash that both have; key slots; damage.
. "${0%/*}/../tap.sh"
. "$TOP/tests/interop/kit.sh"
skip_unless qemu-img qemu-io cryptsetup python3
peer_version qemu-img

one_folder
printf 'sec\nret \xc3\xa9' >pw # the peer takes text only
printf 'other' >pw2
S=(--object "secret,id=s,file=$T/pw" --object "secret,id=w,file=$T/pw2")
at() { echo "driver=luks,file.filename=ours/$1,key-secret=${2:-s}"; }
noise ours/mixed 2000384

# The peer measures its speed by a clock that loaded machines do not have: it gives up, and
# must be asked again.
peer_makes() {
	local i
	for ((i = 0; i < 200; i++)); do
		rm -f ours/r
		peer create -q -f luks "${S[@]}" "$@" >.made 2>&1 && return
		grep -q 'accurate CPU' .made || break
	done
	fail "the peer makes $*: $(cat .made)"
}

# opens NAME FILE: all three know the passphrase; the disk is what is in ours/mixed
opens() {
	# (its other ciphers need a kernel that has them)
	[[ $1 = *serpent* || $1 = *aes-192* || $1 = *twofish* || $1 = *cast5* || $1 = *md5* ]] ||
		ok -n "$1: cryptsetup knows the key" \
			cryptsetup luksOpen --test-passphrase --key-file pw "ours/$2"
	ok -n "$1: the disk, by the peer" peer compare -q "${S[@]}" --image-opts \
		"driver=raw,file.filename=ours/mixed" "$(at "$2")"
	ok -n "$1: the disk, by us" qimg compare -q "${S[@]}" --image-opts \
		"driver=raw,file.filename=ours/mixed" "$(at "$2")"
	same_output -n "$1: info" info "$2"
}

# both OPTIONS: made by us and written by the peer, and the other way round
both() {
	local o="key-secret=s,iter-time=20${1:+,$1}" name=${1:-as it is}
	rm -f ours/w
	ok -n "we make $name" qimg create -q -f luks "${S[@]}" -o "$o" ours/w 2000384 || return
	io --object "secret,id=s,file=$T/pw" --image-opts "$(at w)" -c 'write 0 1M'
	ok -n "the peer writes it" peer convert -n "${S[@]}" --image-opts --target-image-opts \
		"driver=raw,file.filename=ours/mixed" "$(at w)"
	opens "made by us, $name" w
	[ "$MADE_THERE" ] || return 0
	peer_makes -o "$o" ours/r 2000384
	ok -n "we write into the peer's, $name" qimg convert -n "${S[@]}" --image-opts \
		--target-image-opts "driver=raw,file.filename=ours/mixed" "$(at r)"
	opens "made by the peer, $name" r
}
MADE_THERE=yes
both ''
both cipher-alg=aes-128,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256
both cipher-alg=serpent-256,cipher-mode=cbc,ivgen-alg=plain,hash-alg=sha512
MADE_THERE=''
for c in aes-128 aes-192 serpent-128 serpent-256 twofish-128 twofish-256; do
	both "cipher-alg=$c"
done
both cipher-alg=aes-256,cipher-mode=cbc,ivgen-alg=plain64
both cipher-alg=twofish-192,cipher-mode=xts,ivgen-alg=plain
both cipher-alg=cast5-128,cipher-mode=cbc,ivgen-alg=plain64
for h in md5 sha1 sha224 sha384 sha512 ripemd160; do
	both "hash-alg=$h"
done

# ---- cryptsetup makes it ------------------------------------------------------------------
cs() { # NAME ARG...: a header of cryptsetup's; the disk in it is the peer's work
	local name=$1
	shift
	rm -f ours/c
	truncate -s $((2000384 + 4 * 1048576)) ours/c
	if ! cryptsetup luksFormat -q --type luks1 --iter-time 20 --key-file pw "$@" ours/c >.cs 2>&1; then
		fail "cryptsetup $*: $(cat .cs)"
		return
	fi
	same_output -n "cryptsetup, $name: info" info c
	ok -n "cryptsetup, $name: we write" qimg convert -n "${S[@]}" --image-opts \
		--target-image-opts "driver=raw,file.filename=ours/mixed" "$(at c)"
	peer convert "${S[@]}" --image-opts -O raw "$(at c)" ours/x
	ok -n "cryptsetup, $name: the disk by the peer" cmp -n 2000384 ours/mixed ours/x
}
cs 'as it is'
cs 'essiv' -c aes-cbc-essiv:sha256 -s 256
cs 'short keys' -c aes-xts-plain64 -s 256
cs 'a payload further on' --align-payload 4096
cs 'sha512' -h sha512
cryptsetup luksAddKey -q --iter-time 20 --key-file pw --key-slot 5 ours/c pw2
qimg convert "${S[@]}" --image-opts -O raw "$(at c w)" ours/x
ok -n "by a key that cryptsetup added" cmp -n 2000384 ours/mixed ours/x

# bytes that are no text, among them NUL
head -c 300 /dev/urandom >pw3
printf '\0\n' >>pw3
ok -n 'a key of any bytes' qimg create -q -f luks --object "secret,id=s,file=$T/pw3" \
	-o key-secret=s,iter-time=20 ours/b 1M
ok -n 'opens' cryptsetup luksOpen --test-passphrase --key-file pw3 ours/b
ok -n 'and is read' qimg convert --object "secret,id=s,file=$T/pw3" -O raw --image-opts "$(at b)" ours/x

# ---- key slots --------------------------------------------------------------------------
qimg create -q -f luks "${S[@]}" -o key-secret=s,iter-time=20 ours/base 1M
slots() { # the same changes by both, each on its copy; then who can open it
	local o i
	for o; do
		for i in w r; do
			[ -e "ours/$i" ] || cp ours/base "ours/$i"
		done
		run qimg amend "${S[@]}" --image-opts "$(at w)" -o "$o"
		local ours="$rc $err"
		for ((i = 0; i < 200; i++)); do
			run peer amend "${S[@]}" --image-opts "$(at r)" -o "$o"
			[[ $err == *'accurate CPU'* ]] || break
		done
		is "$ours" "$rc $err" "amend $o"
	done
	is "$(cryptsetup luksDump ours/w | grep Slot)" "$(cryptsetup luksDump ours/r | grep Slot)" \
		"the slots after $*"
}
rm -f ours/w ours/r
slots state=active state=active,new-secret=w,iter-time=20 \
	state=active,new-secret=w,keyslot=1,iter-time=20 \
	state=active,new-secret=w,keyslot=6,iter-time=20 state=active,new-secret=w,old-secret=s \
	state=inactive,keyslot=9 state=inactive state=foo keyslot=1 state=inactive,keyslot=5 \
	state=active,new-secret=q state=inactive,keyslot=0,new-secret=s \
	state=inactive,keyslot=1,iter-time=20 state=inactive,keyslot=6,old-secret=s \
	state=inactive,keyslot=6,old-secret=w
slots state=active,new-secret=s,keyslot=7,iter-time=20 state=inactive,old-secret=s
ok -n 'the other passphrase is left' cryptsetup luksOpen --test-passphrase --key-file pw2 ours/w
nok -n 'and the first is gone' cryptsetup luksOpen --test-passphrase --key-file pw ours/w
cp ours/base ours/w
nok -n 'the last key is not lost by mistake' qimg amend "${S[@]}" --image-opts "$(at w)" \
	-o state=inactive,keyslot=0
ok -n 'but by --force' qimg amend --force "${S[@]}" --image-opts "$(at w)" -o state=inactive,keyslot=0
nok -n 'then nobody opens it' cryptsetup luksOpen --test-passphrase --key-file pw ours/w

# ---- what is wrong with it ----------------------------------------------------------------
same_output -n 'no key' convert -O raw base x
same_output -n 'the wrong one' convert --object secret,id=s,data=bad -O raw --image-opts \
	driver=luks,file.filename=base,key-secret=s x
same_output -n 'no such secret' convert -O raw --image-opts \
	driver=luks,file.filename=base,key-secret=s x
for o in '' key-secret=zz cipher-alg=aes-257 cipher-mode=foo ivgen-alg=foo hash-alg=foo \
	cipher-alg=cast5-128 iter-time=abc preallocation=bad; do
	[[ $o = key-secret* || ! $o ]] || o+=,key-secret=s
	same_output -n "create -o '$o'" create -f luks "${S[@]}" ${o:+-o "$o"} new 1M
done
same_output create -f luks -o help
same_output amend -f luks -o help
ok -n 'measure: what the peer says where it can' qimg measure "${S[@]}" -O luks -o key-secret=s --size 1G
is "$(grep -o '[0-9]*$' .out | sort -u)" 1075810304 'measure'
same_output -n 'measure without key' measure -O luks --size 1G
poke() { # AT BYTES
	cp ours/base ours/bad
	printf %b "$2" | dd of=ours/bad bs=1 seek="$1" conv=notrunc status=none
	same_output -n "info, '$2' at $1" info -f luks bad
}
poke 8 'foo\0'
poke 8 aesxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
poke 40 'xtc-plain64\0'
poke 40 'xts-foo\0'
poke 40 'xtsplain\0'
poke 72 'sha999\0'
poke 104 '\0\0\0\1'
poke 164 '\0\0\0\0'
poke 208 '\0\0\0\1'
poke 212 '\0\0\0\0'
poke 248 '\0\0\0\0'
poke 248 '\0\0\2\0'
poke 252 '\0\0\0\1'

# ---- objects --------------------------------------------------------------------------------
K=$(printf 0123456789abcdef0123456789abcdef | base64)
IV=$(printf fedcba9876543210 | base64)
E=$(openssl enc -aes-256-cbc -a -A -K "$(base64 -d <<<"$K" | xxd -p -c 64)" \
	-iv "$(base64 -d <<<"$IV" | xxd -p -c 32)" <pw 2>/dev/null)
key="secret,id=k,data=$K,format=base64"
object() { same_output -n "object ${*:1:2}" convert "${@/#/--object=}" -O raw --image-opts \
	driver=luks,file.filename=base,key-secret=s x; }
object secret,id=s
object secret,data=x
object secret,id=s,data=secret,file=pw
object secret,id=s,file=nope
object "secret,id=s,data=$(base64 <pw),format=base64"
object secret,id=s,data=c2Vj*cmV0,format=base64
object secret,id=s,data=x,format=hex
object secret,id=s,data=x secret,id=s,data=y
object foo,id=s
object secret,id=1s,data=x
object secret,id=s,data=x,foo=bar
object secret,id=s,data=x,keyid=k
object '{"qom-type":"secret","id":"s","data":"x"}'
if [ -n "$E" ]; then
	object "$key" "secret,id=s,data=$E,keyid=k,iv=$IV,format=base64"
	object "$key" "secret,id=s,data=$E,keyid=k,iv=$IV"
	object "$key" "secret,id=s,data=$E,keyid=k,format=base64"
	object secret,id=k,data=abcd,format=base64 "secret,id=s,data=$E,keyid=k,iv=$IV,format=base64"
fi
done_testing
