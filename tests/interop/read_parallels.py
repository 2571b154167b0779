#!/usr/bin/env python3
"""Reads Parallels images and disks, from the specification alone (docs/interop/parallels.rst,
prl-xml.rst): no other program does, so it is the judge.

read_parallels.py IMAGE OUT     writes the disk as raw; IMAGE may be a folder
read_parallels.py --same RAW IMAGE
"""
import os
import struct
import sys
import xml.etree.ElementTree as ET

TOP = "{5fbaabe3-6958-40ff-92a7-860e329aab41}"
NONE = "{00000000-0000-0000-0000-000000000000}"


class Expanding:
    def __init__(self, path):
        self.f = open(path, "rb")
        head = self.f.read(64)
        magic = head[:16]
        (version, _, _, self.tracks, n, sectors, self.in_use, data_off, _, _) = \
            struct.unpack_from("<IIIIIQIIIQ", head, 16)
        assert version == 2 and magic in (b"WithoutFreeSpace", b"WithouFreSpacExt"), magic
        clusters = magic == b"WithouFreSpacExt"
        self.sectors = sectors if clusters else sectors & 0xffffffff
        unit = self.tracks if clusters else 1
        self.bat = [b * unit for b in struct.unpack(f"<{n}I", self.f.read(4 * n))]
        first = data_off or -(-(64 + 4 * n) // 512)
        used = sorted(b for b in self.bat if b)
        size = os.fstat(self.f.fileno()).st_size
        assert not used or used[0] >= first, "a cluster before the data area"
        assert not used or (used[-1] + self.tracks) * 512 <= size, "a cluster outside"
        assert all(b - a >= self.tracks for a, b in zip(used, used[1:])), "used twice"
        assert all((b - first) % self.tracks == 0 for b in used), "not aligned"

    def chunks(self):
        """(offset, bytes) of what is there"""
        for i, at in enumerate(self.bat):
            n = min(self.tracks, self.sectors - i * self.tracks)
            if at and n > 0:
                self.f.seek(at * 512)
                yield i * self.tracks * 512, self.f.read(n * 512).ljust(n * 512, b"\0")


def read_folder(folder, out):
    root = ET.parse(os.path.join(folder, "DiskDescriptor.xml")).getroot()
    text = lambda e, name: e.find(name).text.strip()
    out.truncate(int(text(root.find("Disk_Parameters"), "Disk_size")) * 512)
    parent = {text(s, "GUID"): text(s, "ParentGUID") for s in root.iter("Shot")}
    top = root.find("Snapshots/TopGUID")
    chain = [top.text.strip() if top is not None else TOP]
    while parent.get(chain[-1], NONE) != NONE:
        chain.append(parent[chain[-1]])
    for storage in root.iter("Storage"):
        start = int(text(storage, "Start")) * 512
        files = {text(i, "GUID"): i for i in storage.iter("Image")}
        for guid in reversed(chain):
            path = os.path.join(folder, text(files[guid], "File"))
            if text(files[guid], "Type") == "Plain":
                with open(path, "rb") as f:
                    parts = [(0, f.read(int(text(storage, "End")) * 512 - start))]
            else:
                parts = Expanding(path).chunks()
            for at, data in parts:
                out.seek(start + at)
                out.write(data)


def main(path, out):
    with open(out, "wb") as f:
        if os.path.isdir(path):
            read_folder(path, f)
            return
        image = Expanding(path)
        f.truncate(image.sectors * 512)
        for at, data in image.chunks():
            f.seek(at)
            f.write(data)


if __name__ == "__main__":
    if sys.argv[1] == "--same":
        main(sys.argv[3], sys.argv[3] + ".read")
        pieces = [open(p, "rb") for p in (sys.argv[2], sys.argv[3] + ".read")]
        size = -(-os.path.getsize(sys.argv[2]) // 512) * 512
        assert os.path.getsize(sys.argv[3] + ".read") == size, "another size"
        for _ in range(0, size, 1 << 20):
            a, b = (p.read(1 << 20) for p in pieces)
            assert a.ljust(len(b), b"\0") == b, "another content"
        os.unlink(sys.argv[3] + ".read")
    else:
        main(*sys.argv[1:])
