#!/bin/bash
# OVAs: disks read inside of archives that tar and Python made, and archives that we write, read
# by tar, Python, sha256sum and the peer.
. "${0%/*}/../tap.sh"
skip_unless qemu-img tar python3 sha256sum
peer_version qemu-img
peer_version tar

head -c 3M /dev/urandom >disk
truncate -s 20M disk
printf tail | dd of=disk bs=1 seek=20900000 conv=notrunc status=none

# ---- reading ------------------------------------------------------------------------------------
echo '<Envelope/>' >a.ovf
peer convert -f raw -O vmdk -o subformat=streamOptimized disk a-disk1.vmdk
peer convert -f raw -O qcow2 disk 'b disk.qcow2'
echo 'SHA256(a.ovf)= 00' >a.mf
long=$(printf 'long%.0s' {1..40}).vmdk
cp a-disk1.vmdk "$long"
for f in ustar gnu oldgnu pax; do
	tar --format=$f -cf one.ova a.ovf a.mf a-disk1.vmdk
	ok -n "$f: the only disk" platter compare -f raw -F vmdk disk ova:one.ova
	like "$(platter info ova:one.ova)" 'image: ova:one.ova#a-disk1.vmdk.*file format: vmdk' "$f: probed, and named"
	tar --format=$f -cf two.ova a.ovf a-disk1.vmdk a.mf 'b disk.qcow2'
	ok platter compare disk 'ova:two.ova#b disk.qcow2'
	ok platter compare disk 'ova:two.ova#./b disk.qcow2'
	ok platter compare disk 'ova:two.ova#1'
	ok platter compare disk 'ova:two.ova#2'
	tar --format=$f -cf long.ova a.ovf "$long" 2>/dev/null || continue # ustar: no such names
	ok -n "$f: a long name" platter compare disk "ova:long.ova#$long"
done
python3 - "$long" <<'END'
import sys, tarfile
for name, fmt in ("ustar", tarfile.USTAR_FORMAT), ("gnu", tarfile.GNU_FORMAT), ("pax", tarfile.PAX_FORMAT):
    with tarfile.open("py-%s.ova" % name, "w", format=fmt) as t:
        t.add("a.ovf")
        t.add("a-disk1.vmdk", "./folder/a-disk1.vmdk" if fmt != tarfile.PAX_FORMAT else "\u00e4.vmdk")
END
for f in ustar gnu; do
	ok platter compare disk "ova:py-$f.ova#folder/a-disk1.vmdk"
done
ok platter compare disk ova:py-pax.ova

exits 1 platter info ova:two.ova
like "$err" 'Which of its disks is not said.*1: a-disk1.vmdk \(.*\), 2: b disk.qcow2 \(.*Name one: ova:two.ova#a-disk1.vmdk' 'several disks: which, and how'
exits 1 platter info 'ova:two.ova#3'
like "$err" "There is no disk '3' in it.*1: a-disk1.vmdk" 'one that is not there'
exits 1 platter info two.ova
like "$err" 'This is an OVA.*1: a-disk1.vmdk .*Name one: ova:two.ova#a-disk1.vmdk' 'an OVA is no raw disk'
exits 1 platter convert -O raw two.ova out.raw
ok test ! -e out.raw
ok platter info -f raw two.ova
ok qimg info two.ova
like "$out" 'file format: raw' 'but to the peer it is'
exits 1 platter resize ova:one.ova 30M
like "$err" 'can only be read' 'is not written'
exits 1 platter convert -O vmdk disk ova:one.ova
cp one.ova 'with#hash.ova'
ok platter compare disk 'ova:with#hash.ova'
ok platter compare disk 'ova:with#hash.ova#1'
ok platter compare --image-opts driver=raw,file.filename=disk driver=vmdk,file.driver=ova,file.filename=two.ova,file.disk=1
ok platter compare disk 'json:{"driver": "qcow2", "file": {"driver": "ova", "filename": "two.ova", "disk": "b disk.qcow2"}}'
ok platter map --output json ova:one.ova
ok platter check ova:one.ova
mkdir -p deep
ok platter compare disk "ova:$PWD/one.ova"

# ---- what is in an archive names nothing outside of it
peer create -q -f qcow2 -b "$PWD/disk" -F raw over.qcow2
printf '# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType="monolithicFlat"\nRW 40960 FLAT "%s" 0\n' disk >flat.vmdk
tar -cf evil.ova a.ovf over.qcow2 flat.vmdk
for d in over.qcow2 flat.vmdk; do
	ok -n "$d beside the archive" platter compare disk $d
	exits 1 platter convert -O raw "ova:evil.ova#$d" out.raw
	like "$err" 'may not name files outside of it' "$d in it: why"
done
ok platter info 'ova:evil.ova#over.qcow2'
rm evil.ova

gzip -k a-disk1.vmdk
tar -cf gz.ova a.ovf a-disk1.vmdk.gz
exits 1 platter info ova:gz.ova
like "$err" "There is no disk in it" 'a disk that is compressed is none'
exits 1 platter info 'ova:gz.ova#a-disk1.vmdk.gz'
like "$err" 'is compressed in the archive: unpack it' 'and says so'
truncate -s 10M sparse.img
tar --format=gnu -Scf sparse.ova a.ovf sparse.img
exits 1 platter info ova:sparse.ova
like "$err" 'not in one piece' 'nor one in pieces'
head -c 40000 one.ova >cut.ova
exits 1 platter info ova:cut.ova
like "$err" "reaches past the end of the archive" 'a truncated archive'
exits 1 platter info ova:disk
like "$err" 'damaged at 0: not a header' 'what is no archive'
exits 1 platter info ova:nosuch.ova
like "$err" 'No such file' 'a file that is not there'
python3 - <<'END'
import tarfile, io
with tarfile.open("evil.ova", "w", format=tarfile.GNU_FORMAT) as t:
    for n in ["a.ovf"] + ["\x1b[31m%d.vmdk" % i for i in range(20)]:
        t.addfile(tarfile.TarInfo(n), io.BytesIO())
END
exits 1 platter info evil.ova
unlike "$err" $'\x1b' 'names are shown without their control characters'
like "$err" 'and 12 more' 'and not all of them'

# ---- writing -------------------------------------------------------------------------------------------
platter create -q -f vmdk probe 1M 2>/dev/null || { done_testing; exit; }
ok platter convert --for vsphere -f raw disk 'my disk.ova'
like "$err" 'an OVA: descriptor, manifest \(SHA-256\) and a vmdk disk.*subformat=streamOptimized.*lsilogic' 'it is said'
is "$(tar --numeric-owner -tvf 'my disk.ova' | tr -s ' ' | cut -d' ' -f1,2,4-)" '-rw-r--r-- 0/0 1970-01-01 00:00 my_disk.ovf
-rw-r--r-- 0/0 1970-01-01 00:00 my_disk.mf
-rw-r--r-- 0/0 1970-01-01 00:00 my_disk-disk1.vmdk' 'descriptor, manifest, disk'
mkdir x
tar -xf 'my disk.ova' -C x
is "$(sed -E 's/^SHA256\((.*)\)= (.*)$/\2  \1/' x/my_disk.mf)" \
	"$(cd x && sha256sum my_disk.ovf my_disk-disk1.vmdk)" 'the manifest as sha256sum makes it'
ok peer compare -f raw -F vmdk disk x/my_disk-disk1.vmdk
like "$(peer info x/my_disk-disk1.vmdk)" 'create type: streamOptimized' 'the disk to the peer'
ok platter compare disk 'ova:my disk.ova'
ok platter check --for vsphere 'my disk.ova'
is "$(python3 - <<'END'
import os, tarfile, xml.etree.ElementTree as E
with tarfile.open("my disk.ova") as t:
    m = t.getmembers()
    print([i.name for i in m], {i.uname + i.gname for i in m})
    text = t.extractfile(m[0]).read()
e = E.fromstring(text)
o = "{http://schemas.dmtf.org/ovf/envelope/1}"
f, d = e.find(".//%sFile" % o), e.find(".//%sDisk" % o)
print(f.get(o + "href"), int(f.get(o + "size")) == os.path.getsize("x/my_disk-disk1.vmdk"))
print(d.get(o + "capacity"), d.get(o + "fileRef") == f.get(o + "id"), d.get(o + "format").split("#")[1])
r = "{http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData}"
for i in e.iter(o + "Item"):
    names = [c.tag for c in i]
    assert names == sorted(names), names # the schema wants them in this order
    print(*[i.findtext(r + k) or "-" for k in ("InstanceID", "ResourceType", "ResourceSubType", "Parent", "HostResource")])
END
)" "['my_disk.ovf', 'my_disk.mf', 'my_disk-disk1.vmdk'] {''}
my_disk-disk1.vmdk True
20971520 True streamOptimized
1 3 - - -
2 4 - - -
3 6 lsilogic - -
4 17 - 3 ovf:/disk/disk1" 'the descriptor as Python reads it'
is "$(tail -c 1024 'my disk.ova' | tr -d '\0' | wc -c)" 0 'two blocks of zeros at the end'
is $(($(stat -c %s 'my disk.ova') % 512)) 0 'and whole blocks'

ok env SOURCE_DATE_EPOCH=86400 "$PLATTER" convert -q --for esxi -o adapter_type=ide disk ide.ova
is "$(tar -tvf ide.ova | grep -c '1970-01-02 00:00')" 3 'SOURCE_DATE_EPOCH'
like "$(tar -xOf ide.ova ide.ovf)" '<rasd:ResourceType>5</rasd:ResourceType>' 'an IDE controller'
ok platter check --for esxi ide.ova
for t in aws virtualbox; do
	ok platter convert -q --for $t disk $t.ova
	ok -n "$t: the same disk" platter compare disk ova:$t.ova
	ok platter check --for $t $t.ova
done
: >empty
ok platter convert -q --for vsphere empty empty.ova
ok platter check --for vsphere empty.ova
ok platter convert -q --for vsphere disk "$(printf 'n%.0s' {1..120})<&>.ova"
ok -n 'a name that is long, and means something in XML' python3 -c '
import glob, tarfile, xml.etree.ElementTree as E
with tarfile.open(glob.glob("nnn*.ova")[0]) as t:
    E.fromstring(t.extractfile(t.getmembers()[0]).read())
    assert len({len(m.name) for m in t}) == 3'
if command -v vmdkinfo >/dev/null; then
	ok vmdkinfo x/my_disk-disk1.vmdk
fi
exits 1 platter convert --for vsphere -o subformat=monolithicFlat disk new.ova
like "$err" 'subformat=monolithicFlat will not do' 'another kind of disk'
exits 1 platter convert --for vsphere -O raw disk new.ova
exits 1 platter convert --for vsphere nosuch new.ova
exits 1 bash -c 'ulimit -f 1000; "$PLATTER" convert --for vsphere disk new.ova'
is "$(find . -name 'new*' -o -name '.new*')" '' 'nothing is left of a failure'

# ---- what is damaged is told -----------------------------------------------------------------------------
cp 'my disk.ova' bad.ova
printf XX | dd of=bad.ova bs=1 seek=2000000 conv=notrunc status=none
exits 2 platter check --for vsphere bad.ova
like "$err" "'my_disk-disk1.vmdk' is not what its digest in the manifest says" 'a changed disk'
(cd x && tar --format=ustar -cf ../order.ova my_disk-disk1.vmdk my_disk.ovf)
exits 2 platter check --for vsphere order.ova
like "$err" 'does not begin with a descriptor' 'the wrong order'
(cd x && echo 'SHA1(nosuch)= 00' >>my_disk.mf && echo 'what' >>my_disk.mf &&
	tar --format=ustar -cf ../mf.ova my_disk.ovf my_disk.mf my_disk-disk1.vmdk)
exits 2 platter check --for vsphere mf.ova
like "$err" "names 'nosuch', which is not there.*cannot be read: 'what'" 'lines of the manifest'
(cd x && tar --format=ustar -cf ../ref.ova my_disk.ovf)
exits 2 platter check --for vsphere ref.ova
like "$err" "descriptor names 'my_disk-disk1.vmdk', which is not there" 'a file that the descriptor refers to'
(cd x && truncate -s -512 my_disk-disk1.vmdk && tar --format=ustar -cf ../short.ova my_disk.ovf my_disk-disk1.vmdk)
exits 2 platter check --for vsphere short.ova
like "$err" "'my_disk-disk1.vmdk' has [0-9]+ bytes, not what the descriptor says" 'one that is too short'
(cd x && echo '<Envelope' >my_disk.ovf && tar --format=ustar -cf ../xml.ova my_disk.ovf my_disk-disk1.vmdk)
exits 2 platter check --for vsphere xml.ova
like "$err" 'the descriptor cannot be read: ' 'one that is no XML'
tar --format=ustar -cf kind.ova a.ovf 'b disk.qcow2'
exits 2 platter check --for vsphere kind.ova
like "$err" 'holds no VMDK' 'no disk of its kind'
head -c 30000 'my disk.ova' >cut.ova
exits 2 platter check --for vsphere cut.ova
like "$err" 'reaches past the end' 'a truncated one'
exits 2 platter check --for azure 'my disk.ova'
like "$err" 'Azure takes fixed VHDs' 'who takes none'

done_testing
