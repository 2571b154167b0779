#!/usr/bin/env python3
"""A growing disk image of Bochs ("redolog") of a raw file.

    mkbochs.py [-1] [-e EXTENT] [-b BITMAP] [-c ENTRIES] [-r] [-s FIELD=N]... RAW OUT

-1 is version 1, -r puts the extents into the file in reverse. -s damages the header
afterwards: catalog, bitmap, extent, disk, header, version, or catN for an entry.
"""
import argparse
import struct

FREE = 0xFFFFFFFF
FIELDS = {"version": 64, "header": 68, "catalog": 72, "bitmap": 76, "extent": 80}


def main():
    a = argparse.ArgumentParser()
    a.add_argument("-1", dest="v1", action="store_true")
    a.add_argument("-e", type=int, default=65536)
    a.add_argument("-b", type=int)
    a.add_argument("-c", type=int)
    a.add_argument("-r", action="store_true")
    a.add_argument("-s", action="append", default=[])
    a.add_argument("--subtype", default="Growing")
    a.add_argument("raw")
    a.add_argument("out")
    a = a.parse_args()
    data = open(a.raw, "rb").read()
    size = (len(data) + 511) // 512 * 512
    data += bytes(size - len(data))
    bitmap = a.b or max(1, a.e // 512 // 8)
    entries = a.c or (size + a.e - 1) // a.e
    at = bitmap + (-bitmap % 512)
    used = [i for i in range(entries) if any(data[i * a.e:(i + 1) * a.e])]
    if a.r:
        used.reverse()
    catalog = [FREE] * entries
    for n, i in enumerate(used):
        catalog[i] = n
    head = bytearray(512)
    head[0:22] = b"Bochs Virtual HD Image"
    head[32:39] = b"Redolog"
    head[48:48 + len(a.subtype)] = a.subtype.encode()
    struct.pack_into("<5I", head, 64, 0x10000 if a.v1 else 0x20000, 512, entries, bitmap, a.e)
    disk = 84 if a.v1 else 88
    struct.pack_into("<Q", head, disk, size)
    out = [struct.pack("<%dI" % entries, *catalog)]
    for i in used:
        part = data[i * a.e:(i + 1) * a.e]
        part += bytes(a.e - len(part))
        bits = bytearray(at)
        for k in range(a.e // 512):
            if any(part[k * 512:(k + 1) * 512]):
                bits[k // 8] |= 1 << k % 8
        out.append(bytes(bits) + part + bytes(-a.e % 512))
    with open(a.out, "wb") as f:
        f.write(head + b"".join(out))
        for s in a.s:
            name, value = s.split("=")
            value = int(value, 0)
            if name == "disk":
                f.seek(disk)
                f.write(struct.pack("<Q", value))
                continue
            f.seek(512 + 4 * int(name[3:]) if name.startswith("cat") and name[3:].isdigit()
                   else FIELDS[name])
            f.write(struct.pack("<I", value))


main()
