#!/usr/bin/env python3
"""make.py: a golden qed image by the specification alone. Clusters of 4 KiB, tables of one; a
disk of 12,800 bytes over "base": data, zeros, what is below, and half a sector's cluster."""
import os
import struct

C = 4096
head = struct.pack("<IIIIQQQQQII", 0x00444551, C, 1, 1, 5, 1 << 40, 1 << 41, C, 12800, 100, 4)
image = head.ljust(100, b"\xee") + b"base" + b"\xee" * (C - 104)
image += struct.pack("<Q", 2 * C).ljust(C, b"\0")
image += struct.pack("<4Q", 3 * C, 1, 0, 1).ljust(C, b"\0")
image += b"\x11" * C
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "over.qed"), "wb") as f:
    f.write(image)
