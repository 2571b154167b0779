"""What tests/bench/run times: the table of the project's promises."""

import json
import os
import shutil
import subprocess

import meta
from data import Wrong, differ_at


class Job:
    """command() is its command line; check() raises Wrong if what ours made (the target
    and what was printed) is not what the peer made."""

    on = None          # a file system to be mounted for it
    reads = False      # its output is what counts
    any_m = False
    smaller = False    # our target may not be larger than the peer's
    rss_max = 0        # MiB
    needs = ()
    ours_only = ()     # options that the peer does not have

    def __init__(self, name, what, must, must_zlib=None):
        self.name, self.what, self.must, self.must_zlib = name, what, must, must_zlib

    def limit(self, fast_deflate):
        return self.must if fast_deflate or self.must_zlib is None else self.must_zlib

    def sources(self):
        return self.needs

    def prepare(self, bench, folder, target):
        """Before each run, not timed."""


def peer_says(bench, *args):
    r = subprocess.run([bench.peer, *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       text=True)
    if r.returncode:
        raise Wrong(f"the peer's {args[0]}: exit {r.returncode}: {r.stdout.strip()[-300:]}")


class Convert(Job):
    rss_max = 128

    def __init__(self, name, what, must, source, fmt, options=(), on=None, smaller=False,
                 must_zlib=None, ours_only=()):
        super().__init__(name, what, must, must_zlib)
        self.source, self.fmt, self.options, self.on = source, fmt, list(options), on
        self.smaller, self.ours_only = smaller, list(ours_only)
        self.needs = (source,)

    def source_format(self):
        return self.source.rpartition(".")[2]

    def command(self, bench, folder, target, m=None):
        threads = ["-m", str(m)] if m else []
        return ["convert", *threads, "-f", self.source_format(), "-O", self.fmt,
                "-t", bench.args.cache, "-T", bench.args.src_cache, *self.options,
                os.path.join(folder, self.source), target]

    def check(self, bench, folder, ours, peer, *printed):
        if self.fmt == "raw":
            at = differ_at(ours, peer)
            if at is not None:
                raise Wrong(f"the targets differ at {at:#x}")
            return
        if self.fmt not in ("vpc", "vmdk"):
            peer_says(bench, "check", "-f", self.fmt, ours)
        peer_says(bench, "compare", "-f", self.fmt, "-F", self.source_format(), ours,
                  os.path.join(folder, self.source))


class SameForAnyM(Convert):
    any_m = True


class Report(Job):
    """A command that prints: our JSON must have what the peer's has, value by value."""

    reads = True

    def __init__(self, name, what, must, source, command, rss_max=0):
        super().__init__(name, what, must)
        self.source, self.line, self.rss_max = source, command, rss_max
        self.needs = (source,)

    def command(self, bench, folder, target):
        return [*self.line, os.path.join(folder, self.source)]

    def check(self, bench, folder, target, expected, *printed):
        ours, peer = (json.loads(o) for o in printed)
        if isinstance(peer, list):
            if len(ours) != len(peer):
                raise Wrong(f"{len(ours)} entries, the peer has {len(peer)}")
        else:
            ours, peer = [ours], [peer]
        for a, b in zip(ours, peer):
            if any(a.get(key) != value for key, value in b.items() if key != "actual-size"):
                raise Wrong(f"{json.dumps(a)[:200]} and not {json.dumps(b)[:200]}")


class Compare(Job):
    needs = ("disk.raw", "disk.qcow2")

    def command(self, bench, folder, target):
        return ["compare", "-f", "raw", "-F", "qcow2", *(os.path.join(folder, n)
                                                        for n in self.needs)]

    def check(self, *made):
        pass  # the exit code says all


class Change(Job):
    """A command that changes an overlay: each run gets a fresh copy of it and of its base,
    which is called as the overlay with .base.out behind."""

    needs = ("base.qcow2", "overlay.qcow2", "onto.qcow2")

    def __init__(self, name, what, must, line):
        super().__init__(name, what, must)
        self.line = line

    def prepare(self, bench, folder, target):
        base = target + ".base.out"
        shutil.copyfile(os.path.join(folder, "base.qcow2"), base)
        shutil.copyfile(os.path.join(folder, "overlay.qcow2"), target)
        peer_says(bench, "rebase", "-u", "-b", base, "-F", "qcow2", target)

    def command(self, bench, folder, target):
        line = [os.path.join(folder, w) if w in self.needs else w for w in self.line]
        return [line[0], "-q", "-f", "qcow2", "-t", bench.args.cache, *line[1:], target]

    def check(self, bench, folder, ours, peer, *printed):
        for suffix in ("", ".base.out"):
            peer_says(bench, "check", "-f", "qcow2", ours + suffix)
            peer_says(bench, "compare", "-f", "qcow2", "-F", "qcow2", ours + suffix,
                      peer + suffix)


class Snapshot(Job):
    """snapshot ARG...: each run gets a fresh copy of the source. The peer's word on what
    came out is asked for once: with it, each round would take minutes."""

    def __init__(self, name, what, must, source, line):
        super().__init__(name, what, must)
        self.source, self.line, self.needs = source, line, (source,)
        self.checked = False

    def prepare(self, bench, folder, target):
        subprocess.run(["cp", "--sparse=auto", os.path.join(folder, self.source), target],
                       check=True)

    def command(self, bench, folder, target):
        return ["snapshot", *self.line, target]

    def check(self, bench, folder, ours, peer, *printed):
        if not self.checked:
            peer_says(bench, "check", "-f", "qcow2", ours)
        self.checked = True
        ids = [subprocess.run([bench.peer, "info", "--output=json", path], text=True,
                              stdout=subprocess.PIPE, check=True).stdout
               for path in (ours, peer)]
        ids = [[s["id"] for s in json.loads(o).get("snapshots", [])] for o in ids]
        if ids[0] != ids[1]:
            raise Wrong(f"snapshots {ids[0]} and not {ids[1]}")


class SmallWrites(Job):
    """bench -w: 4 KiB, each into another cluster of a fresh image."""

    LINE = ["-w", "-f", "qcow2", "-c", "10000", "-S", "1028k"]

    def __init__(self, depth, cache):
        super().__init__(f"write-{cache}-{depth}", f"4 KiB writes, {depth} at once, -t {cache}",
                         0.9)
        self.line = [*self.LINE, "-d", str(depth), "-t", cache]
        self.checked = False

    def prepare(self, bench, folder, target):
        peer_says(bench, "create", "-q", "-f", "qcow2", target, "20G")

    def command(self, bench, folder, target):
        return ["bench", *self.line, target]

    def check(self, bench, folder, ours, peer, *printed):
        peer_says(bench, "check", "-f", "qcow2", ours)
        if not self.checked:
            peer_says(bench, "compare", "-f", "qcow2", "-F", "qcow2", ours, peer)
        self.checked = True


class Merge(Job):
    """bitmap --merge: each run gets a fresh copy of the source."""

    needs = ("bitmaps.qcow2",)

    def prepare(self, bench, folder, target):
        subprocess.run(["cp", os.path.join(folder, self.needs[0]), target], check=True)

    def command(self, bench, folder, target):
        return ["bitmap", "--merge", "from", target, "to"]

    def check(self, bench, folder, ours, peer, *printed):
        peer_says(bench, "check", "-f", "qcow2", ours)
        bits = (meta.bitmap_bits(path, "to") for path in (ours, peer))
        for i, (a, b) in enumerate(zip(*bits)):
            if a != b:
                raise Wrong(f"the bits differ in cluster {i} of the bitmap")


class Ahead(Job):
    """All metadata of a disk of 1 TiB, made by create or by resize."""

    def __init__(self, name, what, must, line, resize=False):
        super().__init__(name, what, must)
        self.line, self.resize = line, resize

    def prepare(self, bench, folder, target):
        if self.resize:
            peer_says(bench, "create", "-q", "-f", "qcow2", target, "1M")

    def command(self, bench, folder, target):
        return [*self.line, target, "1T"]

    def check(self, bench, folder, ours, peer, *printed):
        peer_says(bench, "check", "-f", "qcow2", ours)


class ManyInfos(Job):
    def __init__(self, name, what, must, fmt="qcow2"):
        super().__init__(name, what, must)
        self.fmt, self.needs = fmt, ("small." + fmt,)

    def command(self, bench, folder, target):
        return [200, "info", "-f", self.fmt, os.path.join(folder, self.needs[0])]

    def check(self, *made):
        pass


ZSTD = ("-c", "-o", "compression_type=zstd")
JSON = "--output=json"

jobs = [
    Convert("raw-qcow2", "raw to qcow2", 1.0, "disk.raw", "qcow2"),
    Convert("qcow2-qcow2", "qcow2 to qcow2", 1.0, "disk.qcow2", "qcow2"),
    Convert("raw-raw", "raw to raw", 1.0, "disk.raw", "raw"),
    Convert("qcow2-raw", "qcow2 to raw", 0.9, "disk.qcow2", "raw"),
    Convert("zeros-qcow2", "allocated zeros to qcow2", 1.0, "zeros.raw", "qcow2"),
    Convert("random-qcow2", "random bytes to qcow2", 1.0, "random.raw", "qcow2"),
    Convert("random-raw", "random bytes to raw", 1.0, "random.raw", "raw"),
]
for fs in ("xfs", "btrfs"):
    jobs += [
        Convert(f"{fs}-raw-raw", f"raw to raw on {fs}", 0.15, "disk.raw", "raw", on=fs),
        Convert(f"{fs}-raw-qcow2", f"raw to qcow2 on {fs}", 0.15, "disk.raw", "qcow2", on=fs),
        Convert(f"{fs}-qcow2-raw", f"qcow2 to raw on {fs}", 0.15, "disk.qcow2", "raw", on=fs),
    ]
jobs += [
    Convert("pack-zlib", "raw to compressed qcow2", 0.15, "disk.raw", "qcow2", ("-c",),
            smaller=True, must_zlib=0.5),
    Convert("pack-zstd", "raw to qcow2 with zstd", 0.4, "disk.raw", "qcow2", ZSTD),
    Convert("unpack-zlib", "compressed qcow2 to raw", 0.4, "disk-zlib.qcow2", "raw"),
    Convert("unpack-zstd", "zstd qcow2 to raw", 0.4, "disk-zstd.qcow2", "raw"),
    Convert("repack-zlib", "compressed to compressed qcow2", 0.05, "disk-zlib.qcow2", "qcow2",
            ("-c",)),
    # to prove each cluster, libzstd alone takes more than 0.05 of the peer's time
    Convert("repack-zstd", "the same with zstd", 0.1, "disk-zstd.qcow2", "qcow2", ZSTD),
    Convert("repack-zstd-trust", "the same, unproved", 0.05, "disk-zstd.qcow2", "qcow2", ZSTD,
            ours_only=("--trust-compressed",)),
    Convert("chain-raw", "8 overlays to raw", 0.6, "chain.qcow2", "raw"),
    Convert("fragmented-raw", "fragmented qcow2 to raw", 0.4, "fragmented.qcow2", "raw"),
    Report("map-full", "map of 4 TiB, all mapped", 0.1, "full.qcow2", ["map", JSON]),
    Report("measure-full", "measure of it", 0.1, "full.qcow2",
           ["measure", JSON, "-O", "qcow2"]),
    Report("check-full", "check of it", 0.15, "full.qcow2", ["check", JSON]),
    Report("repair-full", "check -r leaks of it", 0.15, "full.qcow2",
           ["check", "-r", "leaks", JSON]),
    Report("check-64", "check of it with 64 snapshots", 0.15, "full-64.qcow2",
           ["check", JSON]),
    Report("repair-64", "check -r leaks of that", 0.15, "full-64.qcow2",
           ["check", "-r", "leaks", JSON]),
    Ahead("create-ahead", "create of 1 TiB with all metadata", 0.1,
          ["create", "-q", "-f", "qcow2", "-o", "preallocation=metadata"]),
    Ahead("resize-ahead", "resize to that", 0.1,
          ["resize", "-q", "-f", "qcow2", "--preallocation=metadata"], resize=True),
    Report("map-1t", "map of 1 TiB, scattered", 0.1, "scattered-1t.qcow2", ["map", JSON]),
    Report("check-1t", "check of it", 0.05, "scattered-1t.qcow2", ["check", JSON]),
    Report("map-34t", "map of 34 TiB, scattered", 0.1, "scattered-34t.qcow2", ["map", JSON]),
    Report("check-34t", "check of it", 0.05, "scattered-34t.qcow2", ["check", JSON]),
    Compare("compare", "raw with qcow2, equal", 0.6),
    Snapshot("snap-create-full", "snapshot -c of 4 TiB, all mapped", 0.1, "full.qcow2",
             ["-c", "b"]),
    Snapshot("snap-apply-full", "snapshot -a of it", 0.1, "full-snap.qcow2", ["-a", "a"]),
    Snapshot("snap-delete-full", "snapshot -d of it", 0.1, "full-snap.qcow2", ["-d", "a"]),
    Snapshot("snap-create-1t", "snapshot -c of 1 TiB, scattered", 0.03,
             "scattered-1t.qcow2", ["-c", "b"]),
    Snapshot("snap-apply-1t", "snapshot -a of it", 0.03, "scattered-1t-snap.qcow2",
             ["-a", "a"]),
    Snapshot("snap-delete-1t", "snapshot -d of it", 0.03, "scattered-1t-snap.qcow2",
             ["-d", "a"]),
    Change("commit", "commit of a scattered overlay", 0.35, ["commit"]),
    Change("rebase", "rebase of it to an image that is much like the old one", 0.35,
           ["rebase", "-b", "onto.qcow2", "-F", "qcow2"]),
    Change("rebase-none", "rebase of it to no backing file", None, ["rebase", "-b", ""]),
    Merge("bitmap-merge", "bitmap --merge of two bitmaps of 64 MiB", 0.5),
    ManyInfos("info", "info of a small image, 200 times", 0.7),
    Report("info-full", "info of 4 TiB, all mapped", 0.7, "full.qcow2", ["info", JSON], 10),
    Report("info-34t", "info of 34 TiB, scattered", 0.7, "scattered-34t.qcow2",
           ["info", JSON], 10),
    *(SmallWrites(depth, cache) for cache in ("writeback", "none") for depth in (1, 32, 64)),
]
for fmt in ("vhdx", "vdi", "vpc", "qed", "parallels", "vmdk"):
    read, write = (0.5, 0.3) if fmt == "vmdk" else (0.9, 0.9)
    jobs += [
        Convert(f"{fmt}-raw", f"{fmt} to raw", read, f"disk.{fmt}", "raw"),
        Convert(f"{fmt}-qcow2", f"{fmt} to qcow2", read, f"disk.{fmt}", "qcow2"),
        Convert(f"raw-{fmt}", f"raw to {fmt}", write, "disk.raw", fmt),
        ManyInfos(f"info-{fmt}", f"info of a small {fmt} image, 200 times", 0.7, fmt),
    ]
STREAM = ("-o", "subformat=streamOptimized")
jobs += [
    Convert("stream-qcow2", "streamOptimized vmdk to compressed qcow2", 0.05,
            "disk-stream.vmdk", "qcow2", ("-c",)),
    Convert("qcow2-stream", "compressed qcow2 to streamOptimized vmdk", 0.05,
            "disk-zlib.qcow2", "vmdk", STREAM),
    Convert("raw-stream", "raw to streamOptimized vmdk", 0.15, "disk.raw", "vmdk", STREAM,
            smaller=True),
    Convert("stream-raw", "streamOptimized vmdk to raw", 0.4, "disk-stream.vmdk", "raw"),
    Convert("dmg-zlib-raw", "dmg (zlib) to raw", 0.5, "zlib.dmg", "raw"),
    Convert("dmg-bzip2-raw", "dmg (bzip2) to raw", 0.5, "bzip2.dmg", "raw"),
    Convert("cloop-raw", "cloop to raw", 0.5, "disk.cloop", "raw"),
    SameForAnyM("same-plain", "same target for any -m", None, "disk.raw", "qcow2"),
    SameForAnyM("same-zlib", "same, compressed", None, "disk.raw", "qcow2", ("-c",)),
    SameForAnyM("same-zstd", "same, with zstd", None, "disk.raw", "qcow2", ZSTD),
    SameForAnyM("same-repack", "same, compressed to compressed", None, "disk-zlib.qcow2",
                "qcow2", ("-c",)),
    SameForAnyM("same-xfs", "same, cloned on xfs", None, "disk.raw", "qcow2", on="xfs"),
    SameForAnyM("same-btrfs", "same, cloned on btrfs", None, "disk.raw", "qcow2", on="btrfs"),
    SameForAnyM("same-chain", "same, from a chain", None, "chain.qcow2", "qcow2"),
    SameForAnyM("same-fragmented", "same, fragmented", None, "fragmented.qcow2", "qcow2"),
]
