#!/usr/bin/env python3
"""A Mac OS disk image (UDIF) of a raw file.

    mkdmg.py [-k KIND] [-c SECTORS] [-p START,START,...] [-z HOW] [--fork] [--both]
             [--base] [--level N] [--gap N] [--lz BLOCKS] [-s NAME=N]... RAW OUT

KIND: UDRW (no trailer at all), UDIF (trailer without tables), UDRO, UDZO, UDBZ, ULFO,
ULMO, UDCO, MIX (one kind after the other). -c: sectors of a chunk. -p: where partitions
begin, in sectors. -z: how zeros are stored: zero, ignore (and not in the checksums), data.
--fork: tables in a resource fork instead of the property list; --both: in both. --base: the
data fork begins at 4096. --gap: bytes between chunks. --lz: blocks of LZFSE, see lzfse.py.

-s damages: any field of the trailer (by FIELDS) or tN.FIELD of table N, tN.M.FIELD of entry
M in it (type start sectors off len); zip=XOR for a byte in the middle of the first stored
chunk; cut=BYTES before the trailer. The checksums stay as they were.
"""
import argparse
import base64
import bz2
import lzma
import os
import struct
import sys
import zlib

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

ZERO, RAW, IGNORE = 0, 1, 2
ADC, ZLIB, BZIP2, LZFSE, XZ = 0x80000004, 0x80000005, 0x80000006, 0x80000007, 0x80000008
COMMENT, END = 0x7FFFFFFE, 0xFFFFFFFF
KINDS = {"UDRO": [RAW], "UDZO": [ZLIB], "UDBZ": [BZIP2], "ULFO": [LZFSE], "ULMO": [XZ],
         "UDCO": [ADC], "MIX": [ZLIB, BZIP2, ADC, XZ, RAW, LZFSE]}
# of the trailer: place and form
FIELDS = {"magic": (0, ">I"), "version": (4, ">I"), "size": (8, ">I"), "flags": (12, ">I"),
          "data": (24, ">Q"), "datalen": (32, ">Q"), "rsrc": (40, ">Q"), "rsrclen": (48, ">Q"),
          "segment": (56, ">I"), "segments": (60, ">I"), "datasumtype": (80, ">I"),
          "datasum": (88, ">I"), "xml": (216, ">Q"), "xmllen": (224, ">Q"),
          "sumtype": (352, ">I"), "sum": (360, ">I"), "sectors": (492, ">Q")}
TABLE = {"magic": (0, ">I"), "version": (4, ">I"), "start": (8, ">Q"), "sectors": (16, ">Q"),
         "base": (24, ">Q"), "buffers": (32, ">I"), "sumtype": (64, ">I"), "sum": (72, ">I"),
         "entries": (200, ">I")}
ENTRY = {"type": (0, ">I"), "start": (8, ">Q"), "sectors": (16, ">Q"), "off": (24, ">Q"),
         "len": (32, ">Q")}


def adc(data):
    """Apple Data Compression, greedy, with all of its three kinds of codes."""
    out, lit, last, i = bytearray(), bytearray(), {}, 0

    def flush():
        while lit:
            n = min(128, len(lit))
            out.append(0x80 | (n - 1))
            out.extend(lit[:n])
            del lit[:n]

    while i < len(data):
        key = data[i:i + 3]
        at = last.get(key, -1)
        n = 0
        if at >= 0 and i - at <= 65536:
            while n < 67 and i + n < len(data) and data[at + n] == data[i + n]:
                n += 1
        last[key] = i
        back = i - at - 1
        if n >= 3 and back < 1024 and n <= 18:
            flush()
            out += bytes([(n - 3) << 2 | back >> 8, back & 255])
        elif n >= 4 and back < 65536:
            flush()
            out += bytes([0x40 | (n - 4), back >> 8, back & 255])
        else:
            lit.append(data[i])
            n = 1
        i += n
    flush()
    return bytes(out)


def pack(kind, data, level, lz):
    if kind == RAW:
        return data
    if kind == ZLIB:
        return zlib.compress(data, level)
    if kind == BZIP2:
        return bz2.compress(data, level)
    if kind == XZ:
        return lzma.compress(data, preset=level)
    if kind == ADC:
        return adc(data)
    import lzfse
    return lzfse.compress(data, lz)


class Maker:
    def __init__(self, a):
        self.a = a
        self.data = open(a.raw, "rb").read()
        self.data += bytes(-len(self.data) % 512)
        self.out = bytearray(4096 if a.base else 0)
        self.base = len(self.out)
        self.turn = 0
        self.sums = []
        self.zip_at = None

    def table(self, first, last):
        kinds, entries, part = KINDS[self.a.kind], [], self.data[first * 512:last * 512]
        crc, at = 0, 0
        entries.append((COMMENT, 0, 0, 0, 0))
        while at < last - first:
            n = min(self.a.c, last - first - at)
            piece = part[at * 512:(at + n) * 512]
            where = len(self.out) - self.base
            if not any(piece) and self.a.z != "data":
                kind = ZERO if self.a.z == "zero" else IGNORE
                entries.append((kind, at, n, where, 0))
            else:
                kind = kinds[self.turn % len(kinds)]
                self.turn += 1
                packed = pack(kind, piece, self.a.level, self.a.lz)
                if self.zip_at is None:
                    self.zip_at = len(self.out) + len(packed) // 2
                entries.append((kind, at, n, where, len(packed)))
                self.out += packed + bytes(self.a.gap)
            if any(piece) or self.a.z != "ignore":
                crc = zlib.crc32(piece, crc)
            at += n
        entries.append((END, last - first, 0, len(self.out) - self.base, 0))
        self.sums.append(crc)
        head = struct.pack(">4sIQQQII24x", b"mish", 1, first, last - first, 0,
                           self.a.c + 8, len(self.sums) - 2 & 0xFFFFFFFF)
        head += struct.pack(">III124xI", 2, 32, crc, len(entries))
        return bytearray(head) + b"".join(struct.pack(">II4Q", k, 0, *e) for k, *e in entries)


def plist(tables):
    x = ['<?xml version="1.0" encoding="UTF-8"?>',
         '<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" '
         '"http://www.apple.com/DTDs/PropertyList-1.0.dtd">',
         '<plist version="1.0">', "<dict>", "\t<key>resource-fork</key>", "\t<dict>",
         "\t\t<key>blkx</key>", "\t\t<array>"]

    def item(i, name, data):
        text = base64.b64encode(data).decode()
        x.extend(["\t\t\t<dict>", "\t\t\t\t<key>Attributes</key>",
                  "\t\t\t\t<string>0x0050</string>", "\t\t\t\t<key>CFName</key>",
                  "\t\t\t\t<string>%s</string>" % name, "\t\t\t\t<key>Data</key>",
                  "\t\t\t\t<data>"])
        x.extend("\t\t\t\t" + text[k:k + 52] for k in range(0, len(text), 52))
        x.extend(["\t\t\t\t</data>", "\t\t\t\t<key>ID</key>",
                  "\t\t\t\t<string>%d</string>" % i, "\t\t\t\t<key>Name</key>",
                  "\t\t\t\t<string>%s</string>" % name, "\t\t\t</dict>"])

    for i, t in enumerate(tables):
        item(i - 1, "part &amp; %d (Apple_HFS : %d)" % (i, i), t)
    x.extend(["\t\t</array>", "\t\t<key>plst</key>", "\t\t<array>"])
    item(0, "", bytes(1032))
    x.extend(["\t\t</array>", "\t</dict>", "</dict>", "</plist>", ""])
    return "\n".join(x).encode()


def fork(tables):
    """A resource fork as Inside Macintosh has it: header, data, map."""
    data, names, kinds = bytearray(), bytearray(), [(b"blkx", tables), (b"plst", [bytes(1032)])]
    types, refs = bytearray(struct.pack(">H", len(kinds) - 1)), bytearray()
    for kind, items in kinds:
        types += struct.pack(">4sHH", kind, len(items) - 1, 2 + 8 * len(kinds) + len(refs))
        for i, item in enumerate(items):
            name = b"part %d" % i
            refs += struct.pack(">hHI4x", i - 1, len(names), 0x50 << 24 | len(data))
            names += bytes([len(name)]) + name
            data += struct.pack(">I", len(item)) + item
    map_len = 28 + len(types) + len(refs) + len(names)
    head = struct.pack(">IIII", 256, 256 + len(data), len(data), map_len)
    top = head + struct.pack(">IHHHH", 0, 0, 0, 28, 28 + len(types) + len(refs))
    return head.ljust(256, b"\0") + data + top + types + refs + names


def poke(buf, place, value):
    at, form = place
    struct.pack_into(form, buf, at, value & (1 << 8 * struct.calcsize(form)) - 1)


def damage_tables(tables, damage):
    for k, v in damage.items():
        f = k.split(".")
        if f[0][0] != "t" or not f[0][1:].isdigit():
            continue
        t = tables[int(f[0][1:])]
        if len(f) == 2:
            poke(t, TABLE[f[1]], v)
        else:
            at, form = ENTRY[f[2]]
            poke(t, (204 + 40 * int(f[1]) + at, form), v)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("-k", dest="kind", default="UDZO")
    p.add_argument("-c", type=int, default=512)
    p.add_argument("-p", default="0")
    p.add_argument("-z", default="zero")
    p.add_argument("-s", action="append", default=[])
    p.add_argument("--fork", action="store_true")
    p.add_argument("--both", action="store_true")
    p.add_argument("--base", action="store_true")
    p.add_argument("--level", type=int, default=6)
    p.add_argument("--lz", default="2n1-2")
    p.add_argument("--gap", type=int, default=0)
    p.add_argument("raw")
    p.add_argument("out")
    a = p.parse_args()
    damage = {k: int(v, 0) for k, v in (s.split("=") for s in a.s)}
    m = Maker(a)
    sectors = len(m.data) // 512
    if a.kind == "UDRW":
        open(a.out, "wb").write(m.data)
        return
    tables = []
    if a.kind == "UDIF":
        m.out += m.data
        m.sums.append(zlib.crc32(m.data))
    else:
        starts = [int(s) for s in a.p.split(",")] + [sectors]
        tables = [m.table(s, e) for s, e in zip(starts, starts[1:])]
    data_sum = zlib.crc32(bytes(m.out[m.base:]))
    data_len = len(m.out) - m.base
    damage_tables(tables, damage)
    if "zip" in damage:
        m.out[m.zip_at] ^= damage["zip"]
    xml_at = rsrc_at = xml_len = rsrc_len = 0
    if tables and (a.fork or a.both):
        rsrc_at = len(m.out)
        m.out += fork(tables)
        rsrc_len = len(m.out) - rsrc_at
    if tables and (a.both or not a.fork):
        xml_at = len(m.out)
        m.out += plist(tables)
        xml_len = len(m.out) - xml_at
    koly = bytearray(512)
    struct.pack_into(">4sIIIQQQQQII", koly, 0, b"koly", 4, 512, 1, 0, m.base, data_len,
                     rsrc_at, rsrc_len, 1, 1)
    koly[64:80] = bytes(range(16))
    struct.pack_into(">III", koly, 80, 2, 32, data_sum)
    struct.pack_into(">QQ", koly, 216, xml_at, xml_len)
    master = zlib.crc32(b"".join(struct.pack(">I", s) for s in m.sums))
    struct.pack_into(">III", koly, 352, 2, 32, master)
    struct.pack_into(">IQ", koly, 488, 1, sectors)
    for k, v in damage.items():
        if k in FIELDS:
            poke(koly, FIELDS[k], v)
    with open(a.out, "wb") as f:
        f.write(m.out[:len(m.out) - damage.get("cut", 0)])
        f.write(koly)


if __name__ == "__main__":
    main()
