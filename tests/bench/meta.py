"""qcow2 images made by hand: metadata of any size in seconds, with sparse data."""

import array
import random
import struct

REFCOUNT_BITS = 16


def big_endian(values):
    a = array.array("Q", values)
    a.byteswap()
    return a.tobytes()


def header(bits, size, l1_entries, l1_off, rt_off, rt_clusters):
    return struct.pack(
        ">4sIQIIQIIQQIIQQQQII",
        b"QFI\xfb", 3, 0, 0, bits, size, 0, l1_entries, l1_off, rt_off, rt_clusters,
        0, 0, 0, 0, 0, 4, 104) + bytes(8)


def write_refcounts(f, total, first, cluster):
    """Every one of `total` host clusters has refcount 1; the blocks start at `first`."""
    per_block = cluster * 8 // REFCOUNT_BITS
    one = struct.pack(">H", 1)
    for i in range((total + per_block - 1) // per_block):
        f.seek((first + i) * cluster)
        f.write(one * min(per_block, total - i * per_block))


def scattered(path, size, count, ntables, cluster=65536, seed=1):
    """`count` clusters at random guest places under `ntables` random L2 tables, and in
    random order in the file. They are holes, so that the file stays small."""
    rnd = random.Random(seed)
    entries = cluster // 8
    l1_entries = (size // cluster + entries - 1) // entries
    tables = sorted(rnd.sample(range(l1_entries), ntables))
    guest = sorted(tables[i // entries] * entries + i % entries
                   for i in rnd.sample(range(ntables * entries), count))
    guest = [g for g in guest if g < size // cluster]
    count = len(guest)
    tables = sorted({g // entries for g in guest})

    l1 = 1
    l1_clusters = (l1_entries * 8 + cluster - 1) // cluster
    l2 = l1 + l1_clusters
    rest = l2 + len(tables) + count
    per_block = cluster * 8 // REFCOUNT_BITS
    blocks = rt_clusters = 0
    while True:  # the refcounts count themselves
        total = rest + blocks + rt_clusters
        need = (total + per_block - 1) // per_block
        need_rt = (need * 8 + cluster - 1) // cluster
        if (need, need_rt) == (blocks, rt_clusters):
            break
        blocks, rt_clusters = need, need_rt
    rt = l2 + len(tables)
    data = rt + rt_clusters + blocks

    host = list(range(data, data + count))
    rnd.shuffle(host)
    where = dict(zip(tables, range(l2, rt)))
    with open(path, "wb") as f:
        f.write(header(cluster.bit_length() - 1, size, l1_entries, l1 * cluster,
                       rt * cluster, rt_clusters))
        f.seek(l1 * cluster)
        f.write(big_endian((1 << 63 | where[i] * cluster) if i in where else 0
                           for i in range(l1_entries)))
        f.seek(rt * cluster)
        f.write(big_endian((rt + rt_clusters + i) * cluster for i in range(blocks)))
        write_refcounts(f, total, rt + rt_clusters, cluster)
        at = 0
        for t in tables:
            table = bytearray(cluster)
            while at < count and guest[at] // entries == t:
                struct.pack_into(">Q", table, guest[at] % entries * 8,
                                 1 << 63 | host[at] * cluster)
                at += 1
            f.seek(where[t] * cluster)
            f.write(table)
        f.truncate((data + count) * cluster)


def add_snapshots(path, n):
    """n snapshots of an image that has none and no free cluster below its end, as if they had
    just been made: each has a copy of the L1 table, all share the L2 tables, and every
    refcount but those of the counts themselves is one higher for each."""
    with open(path, "r+b") as f:
        head = f.read(104)
        bits, = struct.unpack_from(">I", head, 20)
        size, = struct.unpack_from(">Q", head, 24)
        l1_entries, l1_off, rt_off, rt_clusters = struct.unpack_from(">IQQI", head, 36)
        cluster = 1 << bits

        def entries(off, count):
            f.seek(off)
            a = array.array("Q", f.read(8 * count))
            a.byteswap()
            return a

        l1 = entries(l1_off, l1_entries)
        blocks = entries(rt_off, rt_clusters * cluster // 8)
        while blocks and not blocks[-1]:
            blocks.pop()
        f.seek(0, 2)
        end = (f.tell() + cluster - 1) // cluster
        l1_clusters = (l1_entries * 8 + cluster - 1) // cluster
        table = b"".join(
            struct.pack(">QIHHIIQII", (end + i * l1_clusters) * cluster, l1_entries,
                        len(str(i + 1)), len(f"snap{i}"), 1000000000 + i, 0, 0, 0, 24)
            + struct.pack(">QQQ", 0, size, (1 << 64) - 1)
            + f"{i + 1}snap{i}".encode().ljust((len(str(i + 1)) + len(f"snap{i}") + 7) // 8 * 8,
                                               b"\0")
            for i in range(n))
        more = n * l1_clusters + (len(table) + cluster - 1) // cluster
        per_block = cluster * 8 // REFCOUNT_BITS
        last = len(blocks) * per_block
        assert end + more <= last, "the counts have no room for the snapshots"
        # what the snapshots share with the disk: all but header, tables and counts
        own = {0} | {b >> bits for b in blocks}
        own |= set(range(l1_off >> bits, (l1_off >> bits) + l1_clusters))
        own |= set(range(rt_off >> bits, (rt_off >> bits) + rt_clusters))
        own |= set(range(end, end + more))
        one, shared = struct.pack(">H", 1), struct.pack(">H", n + 1)
        for i, b in enumerate(blocks):
            first = i * per_block
            used = max(0, min(per_block, end - first))
            block = bytearray(shared * used + bytes(2 * (per_block - used)))
            for c in own:
                if first <= c < first + per_block:
                    block[2 * (c - first):2 * (c - first) + 2] = one
            f.seek(b)
            f.write(block)
        # no entry is the only one to its cluster any more
        plain = [v & ~(1 << 63) for v in l1]
        for off in {v & 0x00FFFFFFFFFFFE00 for v in plain} - {0}:
            t = entries(off, cluster // 8)
            f.seek(off)
            f.write(big_endian(v & ~(1 << 63) for v in t))
        copy = big_endian(plain)
        for i in range(n):
            f.seek((end + i * l1_clusters) * cluster)
            f.write(copy)
        f.seek(l1_off)
        f.write(copy)
        table_off = (end + n * l1_clusters) * cluster
        f.seek(table_off)
        f.write(table)
        f.truncate((end + more) * cluster)
        f.seek(60)
        f.write(struct.pack(">IQ", n, table_off))


def bitmaps(f):
    """The entries of the bitmap directory: name -> (table offset, table entries)."""
    f.seek(0)
    head = f.read(65536)
    at = struct.unpack(">I", head[100:104])[0]
    while struct.unpack(">I", head[at:at + 4])[0] != 0x23852875:
        at += 8 + (struct.unpack(">I", head[at + 4:at + 8])[0] + 7) // 8 * 8
    n, _, _, off = struct.unpack(">IIQQ", head[at + 8:at + 32])
    found = {}
    for _ in range(n):
        f.seek(off)
        table, entries, _, _, _, name, extra = struct.unpack(">QIIBBHI", f.read(24))
        found[f.read(extra + name)[extra:].decode()] = (table, entries)
        off += (24 + extra + name + 7) // 8 * 8
    return found


def fill_bitmaps(path, cluster=65536, seed=1):
    """Random bits for all bitmaps, behind all that is there; one refcount block is enough."""
    rnd = random.Random(seed)
    with open(path, "r+b") as f:
        f.seek(48)
        f.seek(struct.unpack(">Q", f.read(8))[0])
        block = struct.unpack(">Q", f.read(8))[0]
        first = end = (f.seek(0, 2) + cluster - 1) // cluster
        for table, entries in bitmaps(f).values():
            f.seek(end * cluster)
            for _ in range(entries):
                f.write(rnd.randbytes(cluster))
            f.seek(table)
            f.write(big_endian(cluster * (end + i) for i in range(entries)))
            end += entries
        f.seek(block + 2 * first)
        f.write(struct.pack(">H", 1) * (end - first))


def bitmap_bits(path, name, cluster=65536):
    with open(path, "rb") as f:
        table, entries = bitmaps(f)[name]
        f.seek(table)
        for place in struct.unpack(f">{entries}Q", f.read(8 * entries)):
            if place > 1:
                f.seek(place)
                yield f.read(cluster)
            else:
                yield (b"\xff" if place else b"\0") * cluster
