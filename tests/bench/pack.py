#!/usr/bin/env python3
"""pack.py zlib|bzip2|cloop RAW OUT BYTES: the first BYTES of data of RAW, as one dmg with
chunks of 256 KiB or as a cloop image with blocks of 64 KiB. Only what a reader needs."""
import base64
import bz2
import os
import struct
import sys
import zlib

SECTOR = 512


def data(path, want):
    """Pieces of 256 KiB of the file that are not holes."""
    fd = os.open(path, os.O_RDONLY)
    size, pos = os.fstat(fd).st_size, 0
    while want > 0 and pos < size:
        try:
            pos = os.lseek(fd, pos, os.SEEK_DATA) // 262144 * 262144
        except OSError:
            break
        yield os.pread(fd, 262144, pos).ljust(262144, b"\0")
        pos += 262144
        want -= 262144


def dmg(kind, pieces, out):
    squeeze, chunk = ((lambda b: zlib.compress(b, 6), 0x80000005) if kind == "zlib"
                      else (lambda b: bz2.compress(b, 9), 0x80000006))
    table, at, sector = [], 0, 0
    for piece in pieces:
        packed = squeeze(piece)
        out.write(packed)
        n = len(piece) // SECTOR
        table.append(struct.pack(">IIQQQQ", chunk, 0, sector, n, at, len(packed)))
        at += len(packed)
        sector += n
    table.append(struct.pack(">IIQQQQ", 0xffffffff, 0, sector, 0, at, 0))
    mish = struct.pack(">4sIQQQII24x", b"mish", 1, 0, sector, 0, 520, 0)
    mish += struct.pack(">II128x", 2, 32) + struct.pack(">I", len(table)) + b"".join(table)
    plist = ('<?xml version="1.0" encoding="UTF-8"?>\n<plist version="1.0"><dict>'
             "<key>resource-fork</key><dict><key>blkx</key><array><dict>"
             "<key>Attributes</key><string>0x0050</string><key>Data</key><data>"
             + base64.b64encode(mish).decode() + "</data><key>ID</key><string>0</string>"
             "<key>Name</key><string>disk</string></dict></array></dict></dict></plist>\n")
    plist = plist.encode()
    out.write(plist)
    out.write(struct.pack(">4sIIIQQQQQII16sII128xQQ120xII128xIQ12x", b"koly", 4, 512, 1, 0, 0,
                          at, 0, 0, 1, 1, bytes(16), 0, 0, at, len(plist), 0, 0, 1,
                          sector))


def cloop(pieces, out):
    blocks = [p[i:i + 65536] for p in pieces for i in range(0, len(p), 65536)]
    packed = [zlib.compress(b, 6) for b in blocks]
    head = b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 "
    out.write((head + b"/dev/cloop $1\n").ljust(128, b"\0"))
    out.write(struct.pack(">II", 65536, len(blocks)))
    at = 128 + 8 + 8 * (len(blocks) + 1)
    for p in packed:
        out.write(struct.pack(">Q", at))
        at += len(p)
    out.write(struct.pack(">Q", at))
    for p in packed:
        out.write(p)


kind, source, target, want = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
with open(target, "wb") as f:
    if kind == "cloop":
        cloop(data(source, want), f)
    else:
        dmg(kind, data(source, want), f)
