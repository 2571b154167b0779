#!/usr/bin/env python3
"""make.py: golden images by the format's description alone. Blocks of 4 KiB, 5 of them; the
disk is 18,432 bytes. base.vhd; diff.vhd, which differs from it by a block and a few sectors of
two others; fixed.vhd, of 4,608 bytes. And the same with blocks of a sector, for the fuzzer."""
import os
import struct

HERE = os.path.dirname(os.path.abspath(__file__))
FREE, NOWHERE = 0xffffffff, 0xffffffffffffffff


def summed(data, at):
    """The same with its checksum."""
    return data[:at] + struct.pack(">I", ~sum(data) & 0xffffffff) + data[at + 4:]


def footer(kind, creator, size, chs, own, where=512):
    f = struct.pack(">8sIIQI4sIIQQHBBII", b"conectix", 2, 0x10000, where, 0x100, creator, 0x60001,
                    0x5769326b, size, size, *chs, kind, 0)
    return summed((f + bytes([own]) * 16).ljust(512, b"\0"), 64)


def header(parent, name, locators, block):
    h = struct.pack(">8sQQIIII", b"cxsparse", NOWHERE, 2048, 0x10000, 5, block, 0)
    h += bytes([parent]) * 16 + struct.pack(">II", 0x100 if parent else 0, 0)
    h += name.encode("utf-16-be").ljust(512, b"\0")
    for code, length, off in locators:
        h += struct.pack(">4sIIIQ", code, 1, length, 0, off)
    return summed(h.ljust(1024, b"\0"), 36)


def image(kind, own, entries, blocks, parent=0, name="", where=b"", block=4096):
    """Footer, header, 512 bytes for the parent's name, the table, blocks, footer."""
    foot = footer(kind, b"win ", block * 9 // 2, (9, 4, 1), own)
    locators = [(b"W2ru", len(where), 1536)] if where else []
    out = foot + header(parent, name, locators, block) + where.ljust(512, b"\0")
    out += struct.pack(">5I", *entries).ljust(512, b"\xff")
    for bits, fill in blocks:
        out += bytes([bits]).ljust(512, b"\xff") + bytes([fill]) * block
    return out + foot


images = {
    "base.vhd": image(3, 1, [14, FREE, 5, FREE, 23],
                      [(0xff, 0x30), (0xff, 0x10), (0xff, 0x50)]),
    "diff.vhd": image(4, 2, [5, 14, FREE, FREE, 23],
                      [(0x3c, 0xa0), (0xff, 0x22), (0x80, 0xb0)], 1, "base.vhd",
                      ".\\base.vhd".encode("utf-16-le")),
    "fixed.vhd": b"f" * 4608 + footer(2, b"vpc ", 4608, (1, 1, 9), 3, NOWHERE),
}
seeds = {
    "dynamic": image(3, 1, [5, FREE, 7, FREE, 9], [(0x80, 1), (0, 2), (0xff, 3)], block=512),
    "difference": image(4, 2, [5, FREE, 7, FREE, 9], [(0x80, 1), (0, 2), (0xff, 3)], 1, "p",
                        ".\\p".encode("utf-16-le"), 512),
    "fixed": b"f" * 512 + footer(2, b"vpc ", 512, (1, 1, 1), 3, NOWHERE),
}
for folder, files in ((HERE, images), (os.path.join(HERE, "../fuzz/vpc"), seeds)):
    os.makedirs(folder, exist_ok=True)
    for name, data in files.items():
        with open(os.path.join(folder, name), "wb") as f:
            f.write(data)
