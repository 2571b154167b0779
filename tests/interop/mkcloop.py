#!/usr/bin/env python3
"""A cloop v2 image of a raw file.

    mkcloop.py [-b BLOCK] [-l LEVEL] [-s NAME=N]... RAW OUT

-s damages it afterwards: block, blocks, offN; zipN=XOR for the first byte of block N after
its zlib header; cut=BYTES off the end; long=N or short=N: block N is of other length.
"""
import argparse
import struct
import zlib

SCRIPT = b"""#!/bin/sh
#V2.0 Format
modprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1
"""


def main():
    a = argparse.ArgumentParser()
    a.add_argument("-b", type=int, default=65536)
    a.add_argument("-l", type=int, default=6)
    a.add_argument("-s", action="append", default=[])
    a.add_argument("raw")
    a.add_argument("out")
    a = a.parse_args()
    damage = dict(s.split("=") for s in a.s)
    damage = {k: int(v, 0) for k, v in damage.items()}
    data = open(a.raw, "rb").read()
    blocks = []
    for i in range(0, len(data), a.b):
        part = data[i:i + a.b].ljust(a.b, b"\0")
        if damage.get("long") == i // a.b:
            part += b"x"
        if damage.get("short") == i // a.b:
            part = part[:-1]
        blocks.append(bytearray(zlib.compress(part, a.l)))
    for k, v in damage.items():
        if k.startswith("zip"):
            blocks[int(k[3:])][2] ^= v
    offs = [136 + 8 * (len(blocks) + 1)]
    for b in blocks:
        offs.append(offs[-1] + len(b))
    for k, v in damage.items():
        if k.startswith("off"):
            offs[int(k[3:])] = v
    out = SCRIPT.ljust(128, b"\0")
    out += struct.pack(">II", damage.get("block", a.b), damage.get("blocks", len(blocks)))
    out += struct.pack(">%dQ" % len(offs), *offs) + b"".join(blocks)
    with open(a.out, "wb") as f:
        f.write(out[:len(out) - damage.get("cut", 0)])


main()
