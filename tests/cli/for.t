#!/bin/bash
# convert --for and check --for: what each target takes.
. "${0%/*}/../tap.sh"

has() { platter create -q -f "$1" .probe 1M 2>/dev/null && rm -f .probe*; }
size_of() { platter info --output json "$@" | sed -n 's/.*"virtual-size": \([0-9]*\),/\1/p' | tail -n 1; }
nothing() { echo "json:{\"driver\":\"raw\",\"file\":{\"driver\":\"null-co\",\"size\":\"$1\",\"read-zeroes\":true}}"; }
there() { find . -type f ! -path './bin/*' ! -name .out ! -name .err -exec stat -c '%n %i %s %Y' {} + | sort; }
fine() { # TARGET FILE
	exits 0 platter check --for "$1" "$2"
	like "$out,$err" '^Nothing was found that .* would refuse\.,$' "$1 takes $2"
}
refused() { # TARGET FILE TEXT
	exits 2 platter check --for "$1" "$2"
	like "$err" "^$1: .*$3.*; " "$1 does not take $2: why, and what to do"
	like "$out" 'would refuse it: [0-9]+ reason' 'and in short'
}
head -c 3M /dev/urandom >disk
truncate -s 30000000 disk
: >empty

# ---- which -------------------------------------------------------------------------------------
exits 1 platter convert --for nowhere disk out.qcow2
like "$err" "'nowhere' is unknown; there are azure, hyperv, esxi, vsphere, virtualbox, aws, gcp and kvm" 'an unknown target'
exits 1 platter check --for vsphare disk
like "$err" "did you mean 'vsphere'" 'a target that is nearly one'
for c in 'convert --for kvm disk out' 'check --for kvm disk'; do
	# shellcheck disable=SC2086
	exits 1 qimg $c
	like "$err" "unrecognized option '--for'" 'not under the name qemu-img'
done
unlike "$(qimg convert --help; qimg check --help)" '--for ' 'nor in its help'
for c in convert check; do
	like "$(platter $c --help)" '--for TARGET' "$c --help speaks of it"
done

for t in azure hyperv esxi vsphere virtualbox aws gcp kvm; do
	run platter check --for $t disk
	like "$rc,$err" '^(0,|2,'$t': )' "$t is a target"
done

# ---- the ways that do not go with it ------------------------------------------------------------
no() { # TEXT ARG...
	local text=$1 before
	shift
	before=$(there)
	exits 1 platter convert "$@"
	like "$err" "$text" 'why'
	is "$(there)" "$before" 'and nothing is there that was not'
}
truncate -s 40M there.raw
no 'does not go with -n' --for kvm -n disk there.raw
no 'not have the backing file' --for aws -B disk -F raw disk out.raw
no '-c: the archive is compressed' --for gcp -c disk out.tar.gz
no 'an archive has no options' --for gcp -o preallocation=full disk out.tar.gz
no 'has to end in .tar.gz' --for gcp disk out.raw
no 'Compute Engine takes no qcow2' --for gcp -O qcow2 disk out.tar.gz
no 'Azure takes no qcow2, but fixed VHDs' --for azure -O qcow2 disk out
no 'takes no OVA' --for azure disk out.ova
no 'takes no .tar.gz' --for kvm disk out.tar.gz
no "Unknown file format 'vmdk-streams'" --for esxi -O vmdk-streams disk out
exits 1 platter check --for kvm -r all disk
like "$err" 'does not go with -r' 'check only looks'

# ---- KVM -------------------------------------------------------------------------------------------
ok platter convert --for kvm disk out.img2
is "$err" 'platter: kvm: format qcow2' 'one line for each decision'
is "$(head -c 3 out.img2)" QFI 'that is qcow2'
ok platter convert -q --for kvm -O raw disk out.raw
is "$err$out" '' '-q says nothing'
ok cmp -n 30000000 disk out.raw
fine kvm out.img2
fine kvm out.raw
ok platter create -q -f qcow2 -b out.img2 -F qcow2 over.qcow2
fine kvm over.qcow2
rm -f out.*

# ---- Compute Engine -----------------------------------------------------------------------------------
skip_unless tar gzip python3
ok platter convert --for gcp disk out.tar.gz
like "$err" 'bytes of zeros at the end: 28\.6 MiB \(30000128\) become 1 GiB \(1073741824\)' 'what is padded is said'
is "$(tar --numeric-owner -tvzf out.tar.gz)" '-rw-r--r-- 0/0      1073741824 1970-01-01 00:00 disk.raw' 'as tar lists it'
ok gzip -t out.tar.gz
tar -xzf out.tar.gz
truncate -s 1G disk.1g
cat disk >padded
truncate -s 1G padded
ok -n 'as tar unpacks it' cmp disk.raw padded
is "$(python3 -c '
import tarfile, hashlib
t = tarfile.open("out.tar.gz")
m, = t.getmembers()
h, f = hashlib.sha256(), t.extractfile(m)
for b in iter(lambda: f.read(1 << 20), b""): h.update(b)
print(m.name, m.type, m.mtime, repr(m.uname), h.hexdigest())')" \
	"disk.raw b'S' 0 '' $(sha256sum <padded | cut -d' ' -f1)" 'as Python reads it'
is "$(gzip -dc out.tar.gz | head -c 264 | tail -c 7)" 'ustar  ' "in GNU's old format"
fine gcp out.tar.gz
refused aws out.tar.gz 'compressed by gzip'
for m in 1 2 7; do
	ok platter convert -q -m $m --for gcp disk m.tar.gz
	ok -n "the same bytes with $m threads" cmp out.tar.gz m.tar.gz
done
ok env SOURCE_DATE_EPOCH=86400 "$PLATTER" convert -q --for gcp disk m.tar.gz
like "$(tar -tvzf m.tar.gz)" ' 1970-01-02 00:00 ' 'SOURCE_DATE_EPOCH'
# all of it is data, several sources, nothing at all
yes data | head -c 1G >full
ok platter convert -q --for gcp full m.tar.gz
ok -n 'no hole' bash -c 'tar -xOzf m.tar.gz | cmp - full'
is "$(gzip -dc m.tar.gz | head -c 157 | tail -c 1)" 0 'is a plain member'
fine gcp m.tar.gz
rm full
ok platter convert -q --for gcp disk disk m.tar.gz
ok -n 'two sources' bash -c 'tar -xOzf m.tar.gz | cmp -n 60000256 - <(cat disk; head -c 128 /dev/zero; cat disk; head -c 128 /dev/zero)'
ok platter convert -q --for gcp empty m.tar.gz
is "$(tar -tvzf m.tar.gz | tr -s ' ' | cut -d' ' -f3)" 1073741824 'an empty disk'
tar -xzf m.tar.gz
is "$(stat -c '%s' disk.raw)" 1073741824 'as tar unpacks it'
fine gcp m.tar.gz
rm -f disk.raw
python3 - <<'END'
with open("many", "wb") as f: # more pieces than one header's map has room for
    for i in range(60):
        f.seek(i * (3 << 20)); f.write(b"%d" % i * 2000)
END
ok platter convert -q --for gcp many m.tar.gz
ok -n 'a map of several blocks' bash -c 'tar -xOzf m.tar.gz | head -c "$(stat -c %s many)" | cmp - many'
fine gcp m.tar.gz
if [ -z "$SANITIZED" ]; then
	ok -n 'a disk of 20 TiB needs no memory' bash -c \
		'ulimit -v 400000; "$PLATTER" convert -q --for gcp "$1" m.tar.gz' - "$(nothing 20T)"
	like "$(tar -tvzf m.tar.gz)" ' 21990232555520 ' 'and is that long'
	ok test "$(stat -c %s m.tar.gz)" -lt 100000
	fine gcp m.tar.gz
fi
no '65 TiB .* and 64 TiB is the most' --for gcp "$(nothing 65T)" out2.tar.gz

# archives that others made
bad() { # NAME TEXT
	refused gcp "$1.tar.gz" "$2"
}
truncate -s 1G disk.raw
cp disk other
tar --format=oldgnu -Sczf good.tar.gz disk.raw
fine gcp good.tar.gz
tar --format=pax -Sczf pax.tar.gz disk.raw
bad pax "archive holds '.*', not 'disk.raw'"
tar --format=ustar -czf ustar.tar.gz disk.raw
bad ustar 'not of GNU.s old format'
tar --format=oldgnu -Sczf two.tar.gz disk.raw other
bad two 'more than .disk.raw.'
tar --format=oldgnu -Sczf name.tar.gz other
bad name "archive holds 'other'"
truncate -s 1500M disk.raw
tar --format=oldgnu -Sczf odd.tar.gz disk.raw
bad odd '1572864000 bytes, no multiple of 1073741824'
head -c 3000000 out.tar.gz >cut.tar.gz
bad cut 'cut off'
cp out.tar.gz broken.tar.gz
printf XXXX | dd of=broken.tar.gz bs=1 seek=100000 conv=notrunc status=none
bad broken 'damaged|checksum|data check'
gzip -c disk >plain.tar.gz
bad plain 'not a header of a tar archive'
gzip -c empty >void.tar.gz
bad void 'the archive is empty'
cp out.tar.gz out.tgz
refused gcp out.tgz 'ends not in .tar.gz'
refused gcp disk 'the image is raw'
rm -f ./*.tar.gz ./*.tgz disk.raw padded many other disk.1g

# ---- AWS ----------------------------------------------------------------------------------------------
ok platter convert --for aws disk out.raw
is "$err" 'platter: aws: format raw' 'raw'
fine aws out.raw
fine aws disk
platter convert -q -O qcow2 disk out.qcow2
refused aws out.qcow2 'the image is qcow2'
exits 1 platter convert --for aws "$(nothing 65T)" out2.raw
like "$err" '64 TiB is the most: EBS has no larger volumes' 'too large'

# ---- VirtualBox ------------------------------------------------------------------------------------------
ok platter convert --for virtualbox disk out.foo
is "$err" 'platter: virtualbox: format vdi' 'vdi'
fine virtualbox out.foo
refused kvm out.foo 'the image is vdi, and KVM takes qcow2 and raw'
refused virtualbox disk 'the image is raw'

# ---- an overlay, and JSON ------------------------------------------------------------------------------
ok platter create -q -f qcow2 -b out.qcow2 -F qcow2 over.qcow2
exits 2 platter check --for aws --output json over.qcow2
is "$(python3 -c '
import json, sys
j = json.load(sys.stdin)
print(j["for"], j["filename"], j["format"], j["virtual-size"])
print(*[r["kind"] for r in j["refused"]])
print(all(r["reason"] and r["remedy"] for r in j["refused"]))' <<<"$out")" 'aws over.qcow2 qcow2 30000128
backing-file format
True' 'in JSON'
is "$err" '' 'and nothing on stderr'
rm -f out.qcow2
exits 2 platter check -q --for aws over.qcow2
is "$out" '' '-q; and the backing file is not needed'
exits 1 platter check --for aws nosuch
exits 1 platter check --for aws -f qcow2 disk
rm -f out.*

# ---- VHD and VHDX ---------------------------------------------------------------------------------------
if has vpc; then
	ok platter convert --for azure disk out.vhd
	is "$err" 'platter: azure: format vpc
platter: azure: subformat=fixed: Azure takes fixed disks only
platter: azure: force_size=on: the size stays what it is, and is not rounded to a geometry
platter: azure: 408576 bytes of zeros at the end: 28.6 MiB (30000128) become 29 MiB (30408704), since Azure takes whole MiB' 'every decision is said'
	is "$(stat -c %s out.vhd)" 30409216 'whole MiB and a footer'
	ok -n 'the disk is in it' cmp -n 30000000 disk out.vhd
	ok -n 'zeros behind it' cmp <(tail -c 409088 out.vhd | head -c 408576) <(head -c 408576 /dev/zero)
	fine azure out.vhd
	fine hyperv out.vhd
	fine aws out.vhd
	for s in 0 1 20M 20971521 64M; do
		rm -f s && truncate -s $s s
		ok platter convert -q --for azure s out.vhd
		fine azure out.vhd
	done
	like "$(platter convert --for azure empty out.vhd 2>&1)" 'become 20 MiB .*, since it takes no less' 'the least'
	ok platter convert -q --for azure -o subformat=fixed,force_size=yes -O vpc disk out.vhd
	fine azure out.vhd
	rm -f out.vhd
	no 'subformat=dynamic will not do, but subformat=fixed: Azure takes fixed disks only' \
		--for azure -o subformat=dynamic disk out.vhd
	no 'force_size=off will not do' --for azure -o force_size=off disk out.vhd
	no '33 TiB .* and 32 TiB is the most' --for azure "$(nothing 33T)" out.vhd
	platter convert -q -O vpc -o force_size=on disk dyn.vhd
	refused azure dyn.vhd 'the VHD is dynamic, and has to be fixed'
	refused azure dyn.vhd '30000128 bytes, no multiple of 1048576'
	truncate -s 1M s
	platter convert -q -O vpc -o subformat=fixed,force_size=on s small.vhd
	refused azure small.vhd '1 MiB .* and 20 MiB is the least'
	ok platter convert --for hyperv disk out.vhd
	like "$err" 'format vpc.*subformat=dynamic.*force_size=on' 'the name says which of two'
	is "$(size_of -f vpc out.vhd)" 30000128 'no byte is rounded away'
	fine hyperv out.vhd
	ok platter convert -q --for virtualbox -O vpc disk out.foo
	fine virtualbox out.foo
	no '2\.49 TiB .* and 1\.99 TiB is the most: a VHD holds no more' --for aws -O vpc "$(nothing 2550G)" out2.vhd
	rm -f out.*
fi
if has vhdx; then
	ok platter convert --for hyperv disk out.disk
	is "$err" 'platter: hyperv: format vhdx
platter: hyperv: subformat=dynamic: it grows with what is written' 'Hyper-V: VHDX'
	fine hyperv out.disk
	ok platter convert -q --for hyperv -o subformat=fixed disk out.vhdx
	fine hyperv out.vhdx
	fine aws out.vhdx
	refused azure out.vhdx 'the image is vhdx, and Azure takes fixed VHDs only'
	no 'will not do' --for hyperv -o subformat=nosuch disk out2.vhdx
	no '65 TiB .* and 64 TiB is the most: a VHDX' --for hyperv "$(nothing 65T)" out2.vhdx
	rm -f out.*
fi

# ---- VMDK -----------------------------------------------------------------------------------------------------
if has vmdk; then
	for t in esxi vsphere; do
		ok platter convert --for $t disk out.vmdk
		like "$err" "format vmdk.*subformat=streamOptimized.*adapter_type=lsilogic.*hwversion=13" "$t: every decision is said"
		like "$err" '30000128\) become 28\.6 MiB \(30015488\), since a sparse VMDK holds whole grains' "$t: whole grains"
		is "$(size_of out.vmdk)" 30015488 "$t: its size"
		fine $t out.vmdk
	done
	fine aws out.vmdk
	ok platter convert -q --for esxi -o adapter_type=ide,compat6=on disk out.vmdk
	like "$(strings -n 3 out.vmdk | head -n 40)" 'adapterType = "ide"' 'what is given wins'
	fine esxi out.vmdk
	platter convert -q -O vmdk disk sparse.vmdk
	refused vsphere sparse.vmdk 'the VMDK is monolithicSparse, and has to be streamOptimized'
	platter convert -q -O vmdk -o subformat=streamOptimized,adapter_type=legacyESX disk legacy.vmdk
	refused vsphere legacy.vmdk "the VMDK is for the adapter 'legacyESX'"
	platter convert -q -O vmdk -o subformat=streamOptimized,hwversion=99 disk new.vmdk
	refused esxi new.vmdk "the VMDK is for hardware version '99'"
	rm -f new.vmdk
	rm -f out.*
	no 'subformat=monolithicSparse will not do' --for vsphere -o subformat=monolithicSparse disk out.vmdk
	ok platter convert -q --for virtualbox -O vmdk disk out.vmdk
	fine virtualbox out.vmdk
fi

# ---- the names that people try --------------------------------------------------------------------------------
try() { # TYPED FORMAT TEXT
	platter create -q -f "$2" .probe 1M 2>/dev/null || return
	rm -f .probe*
	exits 1 platter convert -O "$1" disk out
	like "$err" "$3" "-O $1"
}
try vhd vpc "did you mean 'vpc'\?"
try VHD vpc "did you mean 'vpc'\?"
try vhd-fixed vpc "did you mean 'vpc' with -o subformat=fixed\?"
try hyper-v vhdx "did you mean 'vhdx'\?"
try vmdk-stream vmdk "did you mean 'vmdk' with -o subformat=streamOptimized\?"
try streamOptimized vmdk "did you mean 'vmdk' with -o subformat=streamOptimized\?"
try VMware vmdk "did you mean 'vmdk'\?"
try hdd parallels "did you mean 'parallels'\?"
try virtualbox vdi "did you mean 'vdi'\?"
try qcow3 qcow2 "did you mean 'qcow2'\?"
try tar.gz raw 'convert --for gcp writes the .tar.gz'
try img raw "did you mean 'raw'\?"
exits 1 qimg convert -f raw -O vhd disk out
unlike "$err" 'did you mean' 'the peer does not guess'
for n in out.ova out.tar.gz out.img.gz out.zip; do
	exits 1 platter convert disk $n
	like "$err" 'this version cannot write' "$n is no raw disk"
done
like "$(platter convert disk out.ova 2>&1)" 'convert --for vsphere .* writes an .ova' 'what writes an OVA'
for n in vhd:vpc vhdx:vhdx vmdk:vmdk vdi:vdi hdd:parallels qed:qed; do
	platter create -q -f "${n#*:}" .probe 1M 2>/dev/null || continue
	rm -rf .probe*
	ok platter convert disk "out.${n%:*}"
	like "$err" "writing ${n#*:}, from the name's extension" "disk.${n%:*}"
	rm -rf out.*
done

done_testing
