#!/usr/bin/env python3
"""make.py: a golden qcow image by the format's description alone. Clusters of 512 bytes, L2
tables of 64 entries; a disk of 34,304 bytes over "base": data, what is below, two compressed
clusters, the second at an odd offset, and a last cluster behind another L2 table."""
import os
import struct
import zlib


def deflate(data):
    z = zlib.compressobj(9, zlib.DEFLATED, -12)
    return z.compress(data) + z.flush()


def packed(at, data):
    return 1 << 63 | len(data) << (63 - 9) | at


C = 512
one, two = deflate(b"\x33" * C), deflate(bytes(range(256)) * 2)
head = struct.pack(">IIQIIQBBHIQ", 0x514649fb, 1, 48, 4, 1234, 34304 + 100, 9, 6, 0, 0, 56)
image = (head + b"base\xee\xee\xee\xee" + struct.pack(">2Q", 2 * C, C)).ljust(C, b"\xee")
image += struct.pack(">3Q", 0, 0, 4 * C).ljust(C, b"\0")
image += struct.pack(">5Q", 3 * C, 0, packed(5 * C, one), packed(5 * C + len(one), two),
                     0).ljust(C, b"\0")
image += b"\x11" * C + b"\x22" * C + one + two
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "over.qcow"), "wb") as f:
    f.write(image)
