#!/usr/bin/env python3
"""pack.py IMAGE SEED: an image as records, the form of input that image.h describes."""
import sys

with open(sys.argv[1], "rb") as f:
    data = f.read(255 << 14)
out = bytes([-(-len(data) // 16384)])
for i in range(0, len(data), 64):
    line = data[i:i + 64].ljust(64, b"\0")
    # data need not be there
    if line.strip(b"\0") and line != b"\xcd" * 64:
        out += (i // 64).to_bytes(2, "big") + line
with open(sys.argv[2], "wb") as f:
    f.write(out)
