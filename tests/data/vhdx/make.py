#!/usr/bin/env python3
"""make.py: golden images by the format's description alone.

    base   dynamic, blocks of 1 MiB; the disk has 5 MiB and 4 KiB
    diff   differs from it: whole blocks, zeros, some sectors of a block
    log    base before its log was replayed: entries round the end of the ring, the last torn
    large  sectors of 4096 bytes, blocks behind the entry of a sector bitmap

Beside this file they are records: the file's size in MiB, then a number of a sector and its
512 bytes each, numbers big-endian. `make.py DIR` makes them as they are, DIR/base.vhdx, ..."""
import os
import struct
import sys
import uuid

MIB = 1 << 20
LOG, BAT, META = MIB, 2 * MIB, 3 * MIB
PAGE = 4096
DATA, DISK, DIFF, LOG_ID = (uuid.UUID(int=n << 96 | 0x4000 << 64 | 0x8000 << 48 | n)
                                  for n in range(2, 6))
NULL = uuid.UUID(int=0)
FULL, PARTIAL, ZERO, UNMAPPED = 6, 7, 2, 3


def g(text):
    return uuid.UUID(text).bytes_le


BAT_ID = g("2dc27766-f623-4200-9d64-115e9bfd4a08")
META_ID = g("8b7ca206-4790-4b9a-b8fe-575f050f886e")
ITEMS = [g("caa16737-fa36-4d43-b3b6-33f0aa44e76b"), g("2fa54224-cd1b-4876-b211-5dbed83bf4b8"),
         g("beca12ab-b2e6-4523-93ef-c309e000c746"), g("8141bf1d-a96f-4709-ba47-f233a8faab5f"),
         g("cda348c7-445d-4471-9cc9-e9885251c556"), g("a8d35f2d-b30b-454d-abf7-d3d84834ab0c")]
LOCATOR = g("b04aefb7-d19e-4a81-b789-25b8e9445913")

TABLE = []
for byte in range(256):
    for _ in range(8):
        byte = byte >> 1 ^ (0x82f63b78 if byte & 1 else 0)
    TABLE.append(byte)


def crc(data):
    c = 0xffffffff
    for b in data:
        c = c >> 8 ^ TABLE[(c ^ b) & 0xff]
    return c ^ 0xffffffff


def summed(data):
    """With its checksum at 4."""
    return data[:4] + struct.pack("<I", crc(data[:4] + bytes(4) + data[8:])) + data[8:]


class Image:
    def __init__(self, mib):
        self.mib = mib
        self.sectors = {}

    def put(self, off, data):
        assert off % 512 == 0
        data = data.ljust(-(-len(data) // 512) * 512, b"\0")
        for i in range(0, len(data), 512):
            self.sectors[(off + i) // 512] = data[i:i + 512]

    def get(self, off, n):
        return b"".join(self.sectors.get((off + i) // 512, bytes(512)) for i in range(0, n, 512))

    def header(self, slot, sequence, data_id, log_id, log_len=MIB):
        h = b"head" + struct.pack("<IQ", 0, sequence) + uuid.UUID(int=data_id.int + 1).bytes_le
        h += data_id.bytes_le
        h += log_id.bytes_le + struct.pack("<HHIQ", 0, 1, log_len, LOG)
        self.put(65536 * (1 + slot), summed(h.ljust(PAGE, b"\0")))

    def regions(self, table):
        t = b"regi" + struct.pack("<III", 0, len(table), 0)
        t += b"".join(i + struct.pack("<QII", off, n, need) for i, off, n, need in table)
        for at in (192 << 10, 256 << 10):
            self.put(at, summed(t.ljust(65536, b"\0")))

    def metadata(self, items):
        table = b"metadata" + struct.pack("<HH20x", 0, len(items))
        data = b""
        for kind, item, flags in items:
            table += ITEMS[kind] + struct.pack("<IIII", 65536 + len(data), len(item), flags, 0)
            data += item
        self.put(META, table)
        self.put(META + 65536, data)

    def entry(self, at, sequence, tail, changes, size, torn=False, log_id=LOG_ID):
        """One of the log; changes: (off, page) or (off, length of zeros). Where the next is."""
        desc = pages = b""
        for off, what in changes:
            if isinstance(what, int):
                desc += b"zero" + struct.pack("<IQQQ", 0, what, off, sequence)
                continue
            desc += b"desc" + what[-4:] + what[:8] + struct.pack("<QQ", off, sequence)
            pages += b"data" + struct.pack("<I", sequence >> 32) + what[8:-4]
            pages += struct.pack("<I", sequence & 0xffffffff)
        n = -(-(64 + len(desc)) // PAGE) * PAGE
        head = b"loge" + struct.pack("<IIIQII", 0, n + len(pages), tail, sequence, len(changes), 0)
        head += log_id.bytes_le + struct.pack("<QQ", size, size)
        e = summed((head + desc).ljust(n, b"\0") + pages)
        if torn:
            e = e[:-512] + bytes(512)
        for i in range(0, len(e), PAGE):
            self.put(LOG + (at + i) % MIB, e[i:i + PAGE])
        return (at + len(e)) % MIB

    def begin(self, size, data_id, parent=None, block=MIB, sector=512, bat_len=MIB):
        self.put(0, b"vhdxfile" + "by hand".encode("utf-16-le"))
        self.header(0, 10, data_id, NULL)
        self.header(1, 11, data_id, NULL)
        self.regions([(BAT_ID, BAT, bat_len, 1), (META_ID, META, MIB, 1)])
        items = [(0, struct.pack("<II", block, 2 if parent else 0), 4),
                 (1, struct.pack("<Q", size), 6), (2, DISK.bytes_le, 6),
                 (3, struct.pack("<I", sector), 6), (4, struct.pack("<I", 4096), 6)]
        if parent:
            items.append((5, locator(parent), 4))
        self.metadata(items)


def locator(pairs):
    at = 20 + 12 * len(pairs)
    head, text = LOCATOR + struct.pack("<HH", 0, len(pairs)), b""
    for key, value in pairs:
        k, v = key.encode("utf-16-le"), value.encode("utf-16-le")
        head += struct.pack("<IIHH", at + len(text), at + len(text) + len(k), len(k), len(v))
        text += k + v
    return head + text


def bat(*entries):
    return struct.pack("<%dQ" % len(entries), *entries)


def fill(c, n=512):
    return bytes([c]) * n


def base():
    i = Image(8)
    i.begin(5 * MIB + PAGE, DATA)
    i.put(BAT, bat(5 * MIB | FULL, 0, 4 * MIB | FULL, ZERO, UNMAPPED | 7 * MIB, 6 * MIB | FULL))
    i.put(4 * MIB, fill(0x20))
    i.put(5 * MIB, fill(0x10))
    i.put(5 * MIB + 512, fill(0x11))
    i.put(6 * MIB - 512, fill(0x12))
    i.put(6 * MIB, fill(0x50, PAGE))
    i.put(7 * MIB, fill(0xee))  # what is unmapped is nobody's
    return i


def diff():
    i = Image(8)
    i.begin(5 * MIB + PAGE, DIFF, [("parent_linkage", "{%s}" % DATA),
                                   ("relative_path", ".\\base.vhdx"),
                                   ("absolute_win32_path", "C:\\disks\\base.vhdx")])
    entries = [0] * 4097
    entries[0:4] = [5 * MIB | PARTIAL, 6 * MIB | FULL, ZERO, 0]
    entries[4096] = 4 * MIB | FULL
    i.put(BAT, bat(*entries))
    # sectors 1, 9 to 31 and the last of block 0 are here
    bits = bytearray(256)
    bits[0], bits[1], bits[2], bits[3], bits[255] = 2, 0xfe, 0xff, 0xff, 0x80
    i.put(4 * MIB, bytes(bits))
    i.put(5 * MIB, fill(0xee))
    i.put(5 * MIB + 512, fill(0x81))
    i.put(5 * MIB + 9 * 512, fill(0x89))
    i.put(5 * MIB + 31 * 512, fill(0x8f))
    i.put(6 * MIB - 512, fill(0x8e))
    i.put(6 * MIB, fill(0x91))
    return i


def log():
    i = base()
    done = i.get(BAT, PAGE)
    i.header(0, 12, DATA, LOG_ID)
    # first nothing of it, then all, then (never done) none again
    i.put(BAT, fill(0xee))
    i.put(5 * MIB + 512, bytes(512))
    i.entry(4 * PAGE, 77 << 32 | 4, 4 * PAGE, [(BAT, PAGE)], 8 * MIB)  # stale
    start = MIB - 3 * PAGE
    at = i.entry(start, 77 << 32 | 5, start, [(BAT, PAGE), (5 * MIB, fill(0xaa).ljust(PAGE, b"\0"))], 8 * MIB)
    page = fill(0x10) + fill(0x11) + bytes(PAGE - 1024)
    at = i.entry(at, 77 << 32 | 6, start, [(BAT, done), (5 * MIB, page)], 8 * MIB)
    at = i.entry(at, 77 << 32 | 7, start, [(BAT, bytes(PAGE))], 8 * MIB, torn=True)
    i.entry(40 * PAGE, 77 << 32 | 9, 40 * PAGE, [(BAT, PAGE)], 8 * MIB, log_id=DIFF)
    return i


def large():
    # 32 MiB of 4 KiB sectors are a bitmap's 2^23: 32,768 blocks of 1 MiB to a chunk
    i = Image(7)
    i.begin(40000 * MIB, DATA, sector=4096)
    i.put(BAT, bat(4 * MIB | FULL))
    at = 8 * (32768 + 1)
    i.put(BAT + at // 512 * 512, bytes(at % 512) + bat(5 * MIB | FULL, 6 * MIB | FULL))
    i.put(4 * MIB, fill(0x01, PAGE))
    i.put(5 * MIB, fill(0x02, PAGE))
    i.put(7 * MIB - PAGE, fill(0x03, PAGE))
    return i


for name, image in (("base", base()), ("diff", diff()), ("log", log()), ("large", large())):
    full = {n: s for n, s in sorted(image.sectors.items()) if s.strip(b"\0")}
    if len(sys.argv) > 1:
        with open(os.path.join(sys.argv[1], name + ".vhdx"), "wb") as f:
            f.truncate(image.mib * MIB)
            for n, s in full.items():
                f.seek(n * 512)
                f.write(s)
        continue
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), name), "wb") as f:
        f.write(struct.pack(">I", image.mib))
        for n, s in full.items():
            f.write(struct.pack(">I", n) + s)
