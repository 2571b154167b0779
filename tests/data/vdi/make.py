#!/usr/bin/env python3
"""make.py: golden images by the format's description alone: base.vdi, and diff.vdi which
differs from it. Blocks of 4 KiB, 5 of them; the disk is 18,432 bytes."""
import os
import struct
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
BASE, MODIFIED, DIFF = (uuid.UUID(int=n << 96 | 0x4000 << 64 | 0x8000 << 48 | n)
                        for n in (1, 2, 3))
NULL = uuid.UUID(int=0)


def image(kind, entries, blocks, own, modified, link, parent_modified):
    head = b"<<< golden >>>\n".ljust(64, b"\0")
    head += struct.pack("<IIIII", 0xbeda107f, 0x10001, 0x180, kind, 0) + b"by hand".ljust(256, b"\0")
    head += struct.pack("<IIIIIII", 512, 1024, 0, 0, 0, 512, 0)
    head += struct.pack("<QIIII", 18432, 4096, 512, 5, len(blocks))
    head += b"".join(u.bytes_le for u in (own, modified, link, parent_modified))
    out = head.ljust(512, b"\0") + struct.pack("<5I", *entries).ljust(512, b"\0")
    for fill in blocks:
        out += b"\xee" * 512 + bytes([fill]) * 4096  # what is extra is nobody's
    return out


FREE, ZERO = 0xffffffff, 0xfffffffe
images = {
    "base.vdi": image(1, [1, FREE, 0, ZERO, 2], [0x30, 0x10, 0x50], BASE, MODIFIED, NULL, NULL),
    "diff.vdi": image(4, [FREE, 0, ZERO, FREE, FREE], [0x22], DIFF, DIFF, BASE, MODIFIED),
}
for name, data in images.items():
    with open(os.path.join(HERE, name), "wb") as f:
        f.write(data)
