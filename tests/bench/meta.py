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
