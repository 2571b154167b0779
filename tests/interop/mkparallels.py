#!/usr/bin/env python3
"""Makes Parallels images and disks from nothing, by docs/interop/parallels.rst and
prl-xml.rst.

image FILE KEY=VALUE...   an expanding image: bat=LIST and the fields of the header; clusters
                          are filled with the number of their sector
extend FILE KEY=VALUE...  adds a format extension with a dirty bitmap
disk FOLDER SPEC...       a disk in a folder: see disk()
fields FILE               prints the header
"""
import hashlib
import os
import struct
import sys

SECTOR = 512
TOP = "{5fbaabe3-6958-40ff-92a7-860e329aab41}"
NONE = "{00000000-0000-0000-0000-000000000000}"
NAMES = ("version heads cylinders tracks entries sectors in_use data_off flags ext_off").split()
LAYOUT = "<IIIIIQIIIQ"


def number(text):
    return int(text, 0)


def header(magic, **f):
    return magic.encode()[:16].ljust(16, b"\0") + struct.pack(LAYOUT, *(f[n] for n in NAMES))


def image(path, *args):
    o = dict(a.split("=", 1) for a in args)
    magic = o.pop("magic", "WithouFreSpacExt")
    bat = [number(x) for x in o.pop("bat", "").split(",") if x]
    fill = o.pop("fill", "sector")
    size = o.pop("size", None)
    f = dict.fromkeys(NAMES, 0) | dict(version=2, heads=16, tracks=2, entries=len(bat))
    f |= {k: number(v) for k, v in o.items()}
    if "sectors" not in o:
        f["sectors"] = f["entries"] * f["tracks"]
    step = f["tracks"] or 1
    first = -(-(64 + 4 * len(bat)) // (SECTOR * step)) * step
    if "data_off" not in o:
        f["data_off"] = first
    size = number(size) if size else (first + step * sum(b != 0 for b in bat)) * SECTOR
    img = bytearray(size)
    if fill == "sector":
        for s in range(min(first, f["data_off"] or first), size // SECTOR):
            img[s * SECTOR:(s + 1) * SECTOR] = (b"%08d" % s) * 64
    head = header(magic, **f) + b"".join(struct.pack("<I", b) for b in bat)
    img[:min(len(head), size)] = head[:size]
    with open(path, "wb") as out:
        out.write(img)


def pack_bitmap(sectors, granularity, table, magic, flags):
    data = struct.pack("<Q", sectors) + bytes(range(16)) + struct.pack("<II", granularity,
                                                                       len(table))
    data += b"".join(struct.pack("<Q", t) for t in table)
    return struct.pack("<QQII", magic, flags, len(data), 0) + data + bytes(-len(data) % 8)


def extend(path, *args):
    """bits=N: the first bytes of the bitmap; table: its clusters, said instead of that."""
    o = dict(granularity="2", flags="0", magic="0x20385FAE252CB34A", in_use="0x312e3276",
             end="1", sum="good", bits="0", copies="1")
    o |= dict(a.split("=", 1) for a in args)
    with open(path, "rb") as f:
        img = bytearray(f.read())
    f = dict(zip(NAMES, struct.unpack_from(LAYOUT, img, 16)))
    cluster = f["tracks"] * SECTOR
    img += bytes(-len(img) % cluster)
    ext, bitmap = len(img), len(img) + cluster
    granularity = number(o["granularity"])
    nbytes = -(-(-(-f["sectors"] // granularity)) // 8)
    table = [0] * -(-nbytes // cluster)
    if "table" in o:
        table = [number(x) for x in o["table"].split(",") if x]
    elif table:
        table[0] = bitmap // SECTOR
    features = pack_bitmap(number(o.get("sectors", str(f["sectors"]))), granularity, table,
                           number(o["magic"]), number(o["flags"])) * number(o["copies"])
    if number(o["end"]):
        features += bytes(24)
    features = features.ljust(cluster - 24, b"\0")
    digest = hashlib.md5(features).digest() if o["sum"] == "good" else bytes(16)
    img += struct.pack("<Q", 0xAB234CEF23DCEA87) + digest + features
    if "table" not in o:
        img += number(o["bits"]).to_bytes(8, "little") + bytes(cluster - 8)
    struct.pack_into("<Q", img, 56, ext // SECTOR)
    struct.pack_into("<I", img, 44, number(o["in_use"]))
    with open(path, "wb") as out:
        out.write(img)


def disk(folder, *args):
    """storage=START:END:FILE[,FILE...] (sectors; uppermost first; a name with .raw is plain),
    shots=N: how many images each storage has; top=GUID."""
    storages = [a[8:].split(":", 2) for a in args if a.startswith("storage=")]
    o = dict(a.split("=", 1) for a in args if not a.startswith("storage="))
    depth = len(storages[0][2].split(","))
    guid = [o.get("top", TOP)] + ["{%08d-0000-0000-0000-000000000000}" % (i + 1)
                                  for i in range(depth)]
    size = o.get("size", storages[-1][1])
    x = ['<?xml version="1.0" encoding="UTF-8"?>', '<Parallels_disk_image Version="1.0">',
         "<Disk_Parameters>", f"<Disk_size>{size}</Disk_size>", "<Cylinders>1</Cylinders>",
         f"<Heads>1</Heads><Sectors>{size}</Sectors>",
         f"<Padding>{o.get('padding', '0')}</Padding>", "<Encryption>",
         f"<Engine>{o.get('engine', NONE)}</Engine><Data></Data>", "</Encryption>",
         "</Disk_Parameters>", "<StorageData>"]
    for start, end, files in storages:
        x += ["<Storage>", f"<Start>{start}</Start><End>{end}</End>",
              "<Blocksize>2</Blocksize>"]
        for i, name in enumerate(files.split(",")):
            kind = "Plain" if name.endswith(".raw") else "Compressed"
            x.append(f"<Image><GUID>{guid[i]}</GUID><Type>{kind}</Type>"
                     f"<File>{name}</File></Image>")
        x.append("</Storage>")
    x += ["</StorageData>", "<Snapshots>"]
    if "top" in o:
        x.append(f"<TopGUID>{guid[0]}</TopGUID>")
    for i in range(depth):
        parent = guid[i + 1] if i + 1 < depth else o.get("root", NONE)
        x.append(f"<Shot><GUID>{guid[i]}</GUID><ParentGUID>{parent}</ParentGUID></Shot>")
    x += ["</Snapshots>", "</Parallels_disk_image>", ""]
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "DiskDescriptor.xml"), "w", encoding="utf-8") as out:
        out.write("\n".join(x))


def fields(path):
    with open(path, "rb") as f:
        img = f.read()
    print(img[:16].decode(), *(f"{n}={v:#x}" for n, v in
                               zip(NAMES, struct.unpack_from(LAYOUT, img, 16))),
          f"size={len(img)}")


if __name__ == "__main__":
    {"image": image, "extend": extend, "disk": disk, "fields": fields}[sys.argv[1]](*sys.argv[2:])
