"""The images that tests/bench/run works on. Each is made once, when a job asks for it."""

import hashlib
import os
import random
import shutil
import subprocess
import sys

import meta

MIB = 1 << 20
GIB = 1 << 30
TIB = 1 << 40
CLUSTER = 65536


class Wrong(Exception):
    """A result that is not what it should be."""


class Skip(Exception):
    """This machine cannot do that; the text says why."""


def data_ranges(fd):
    """Where a file has data, as (offset, end)."""
    pos, end = 0, os.fstat(fd).st_size
    while pos < end:
        try:
            pos = os.lseek(fd, pos, os.SEEK_DATA)
        except OSError:
            return
        hole = os.lseek(fd, pos, os.SEEK_HOLE)
        yield pos, hole
        pos = hole


def warm(path):
    """Into the page cache, without filling that with holes."""
    fd = os.open(path, os.O_RDONLY)
    for pos, end in data_ranges(fd):
        while pos < end:
            n = len(os.pread(fd, min(4 * MIB, end - pos), pos))
            pos += n
            if not n:
                break
    os.close(fd)


def differ_at(a, b):
    """The first offset (rounded down) at which two files differ, None if they do not."""
    fds = [os.open(p, os.O_RDONLY) for p in (a, b)]
    try:
        if os.fstat(fds[0]).st_size != os.fstat(fds[1]).st_size:
            return min(os.fstat(fd).st_size for fd in fds)
        done = 0
        for pos, end in sorted(r for fd in fds for r in data_ranges(fd)):
            pos = max(pos, done)
            while pos < end:
                n = min(4 * MIB, end - pos)
                if os.pread(fds[0], n, pos) != os.pread(fds[1], n, pos):
                    return pos
                pos += n
            done = max(done, end)
        return None
    finally:
        for fd in fds:
            os.close(fd)


class Data:
    def __init__(self, folder, scale, peer, peer_io):
        self.folder, self.scale = folder, scale
        self.peer, self.peer_io = peer, peer_io
        self.mounts = {}

    def path(self, name):
        return os.path.join(self.folder, name)

    def get(self, name):
        """The path of a data set, made if it is not there yet."""
        path = self.path(name)
        if not os.path.exists(path):
            maker = getattr(self, "make_" + name.replace(".", "_").replace("-", "_"))
            print(f"    making {name}", flush=True)
            part = path + ".part"
            maker(part)
            os.rename(part, path)
            os.sync()
        return path

    def img(self, *args):
        subprocess.run([self.peer, *args], check=True, stdout=subprocess.DEVNULL)

    def io(self, path, commands):
        r = subprocess.run([self.peer_io, "-f", "qcow2", "-t", "unsafe", path],
                           input="\n".join(commands) + "\nquit\n", text=True,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if r.returncode or "failed" in r.stdout or "rror" in r.stdout:
            raise RuntimeError(f"qemu-io on {path}: {r.stdout[-300:]}")

    # A disk as people have them: 8 GiB with 1 GiB of files, picked from all of /usr
    # in an order that looks random and is the same in every run.
    def make_disk_raw(self, path):
        want = GIB // self.scale
        files = []
        for root, _, names in os.walk("/usr"):
            for name in names:
                p = os.path.join(root, name)
                if os.path.isfile(p) and not os.path.islink(p):
                    files.append((hashlib.md5(p.encode(errors="replace")).digest(), p))
        files.sort()
        stage = self.path("stage")
        total = 0
        for _, p in files:
            size = os.path.getsize(p)
            if total + size > want:
                continue
            to = stage + p
            os.makedirs(os.path.dirname(to), exist_ok=True)
            try:
                os.link(p, to)
            except OSError:
                shutil.copy2(p, to)
            total += size
            if total > want - MIB:
                break
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", stage, path,
                        f"{8192 // self.scale}M"], check=True, stdout=subprocess.DEVNULL)
        shutil.rmtree(stage)

    def make_disk_qcow2(self, path):
        self.img("convert", "-f", "raw", "-O", "qcow2", self.get("disk.raw"), path)

    def make_disk_zlib_qcow2(self, path):
        self.img("convert", "-c", "-f", "raw", "-O", "qcow2", self.get("disk.raw"), path)

    def make_disk_zstd_qcow2(self, path):
        self.img("convert", "-c", "-o", "compression_type=zstd", "-f", "raw", "-O", "qcow2",
                 self.get("disk.raw"), path)

    def fill(self, path, size, chunk):
        with open(path, "wb") as f:
            for _ in range(size // MIB):
                f.write(chunk())

    def make_zeros_raw(self, path):
        zero = bytes(MIB)
        self.fill(path, 4 * GIB // self.scale, lambda: zero)

    def make_random_raw(self, path):
        rnd = random.Random(7)
        self.fill(path, 2 * GIB // self.scale, lambda: rnd.randbytes(MIB))

    # Eight overlays over the disk, each with its own random clusters written.
    def make_chain_qcow2(self, path):
        rnd = random.Random(8)
        below = os.path.basename(self.get("disk.qcow2"))
        for i in range(8):
            layer = path if i == 7 else self.path(f"chain{i}.qcow2")
            self.img("create", "-q", "-f", "qcow2", "-b", below, "-F", "qcow2", layer)
            slots = rnd.sample(range(8 * GIB // self.scale // CLUSTER), 2048 // self.scale)
            self.io(layer, [f"write -q -P {i + 1} {s * CLUSTER} {CLUSTER}" for s in slots])
            below = os.path.basename(layer)

    # Guest order and file order have nothing to do with each other.
    def make_fragmented_qcow2(self, path):
        rnd = random.Random(9)
        size = GIB // self.scale
        self.img("create", "-q", "-f", "qcow2", path, str(size))
        slots = list(range(size // CLUSTER))
        rnd.shuffle(slots)
        self.io(path, [f"write -q -P {s % 255 + 1} {s * CLUSTER} {CLUSTER}" for s in slots])

    # A disk of 8 GiB with 1 GiB of clusters anywhere, an overlay with 512 MiB of them
    # anywhere else, and a base with 128 MiB changed.
    def some(self, path, seed, n, pattern):
        rnd = random.Random(seed)
        slots = rnd.sample(range(8 * GIB // self.scale // CLUSTER), n // self.scale)
        self.io(path, [f"write -q -P {pattern(s)} {s * CLUSTER} {CLUSTER}" for s in slots])

    def make_base_qcow2(self, path):
        self.img("create", "-q", "-f", "qcow2", path, str(8 * GIB // self.scale))
        self.some(path, 10, GIB // CLUSTER, lambda s: s % 200 + 1)

    def make_overlay_qcow2(self, path):
        below = os.path.basename(self.get("base.qcow2"))
        self.img("create", "-q", "-f", "qcow2", "-b", below, "-F", "qcow2", path)
        self.some(path, 11, GIB // CLUSTER // 2, lambda s: s % 200 + 2)

    def make_onto_qcow2(self, path):
        shutil.copyfile(self.get("base.qcow2"), path)
        self.some(path, 12, GIB // CLUSTER // 8, lambda s: 250)

    # The disk in the other formats: disk.vmdk and so on, made by the peer.
    def other(self, fmt, options=()):
        def make(path):
            self.img("convert", *options, "-f", "raw", "-O", fmt, self.get("disk.raw"), path)
        return make

    def make_small(self, fmt):
        def make(path):
            self.img("create", "-q", "-f", fmt, path, "1G")
        return make

    def __getattr__(self, name):
        """make_disk_FMT and make_small_FMT of the formats that the peer writes."""
        for fmt in ("vmdk", "vhdx", "vdi", "vpc", "qed", "parallels", "qcow"):
            if name == "make_disk_" + fmt:
                return self.other(fmt)
            if name == "make_small_" + fmt:
                return self.make_small(fmt)
        if name == "make_disk_stream_vmdk":
            return self.other("vmdk", ("-o", "subformat=streamOptimized"))
        raise AttributeError(name)

    def pack(self, kind, path):
        """dmg and cloop: the first 512 MiB of the disk that are not all zeros."""
        tool = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pack.py")
        subprocess.run([sys.executable, tool, kind, self.get("disk.raw"), path,
                        str(GIB // 2 // self.scale)], check=True)

    def make_zlib_dmg(self, path):
        self.pack("zlib", path)

    def make_bzip2_dmg(self, path):
        self.pack("bzip2", path)

    def make_disk_cloop(self, path):
        self.pack("cloop", path)

    def make_full_qcow2(self, path):
        self.img("create", "-q", "-f", "qcow2", "-o", "preallocation=metadata", path,
                 str(4 * TIB // self.scale))

    def make_full_64_qcow2(self, path):
        subprocess.run(["cp", "--sparse=always", self.get("full.qcow2"), path], check=True)
        meta.add_snapshots(path, 64)

    # 128 MiB of tables in both, of any scale: below some number of clusters all of the
    # peer's refcount blocks fit into its cache, and that is another test.
    def make_scattered_1t_qcow2(self, path):
        meta.scattered(path, TIB, 400000, 2048)
        self.img("check", path)

    def make_scattered_34t_qcow2(self, path):
        meta.scattered(path, 34 * TIB, 400000, 2048)
        self.img("check", path)

    def with_snapshot(self, source, path):
        subprocess.run(["cp", "--sparse=auto", self.get(source), path], check=True)
        self.img("snapshot", "-c", "a", path)

    def make_full_snap_qcow2(self, path):
        self.with_snapshot("full.qcow2", path)

    def make_scattered_1t_snap_qcow2(self, path):
        self.with_snapshot("scattered-1t.qcow2", path)

    def make_bitmaps_qcow2(self, path):
        """Two bitmaps of 64 MiB."""
        self.img("create", "-q", "-f", "qcow2", path, str(256 * GIB // self.scale))
        for name in ("from", "to"):
            self.img("bitmap", "--add", "-g", "512", path, name)
        meta.fill_bitmaps(path)
        self.img("check", path)

    def make_small_qcow2(self, path):
        self.img("create", "-q", "-f", "qcow2", path, "1G")

    def mount(self, kind):
        """A file system that can clone, with the disk on it. Its folder."""
        if kind in self.mounts:
            return self.mounts[kind]
        if os.geteuid() != 0:
            raise Skip("only root can mount")
        if not shutil.which("mkfs." + kind):
            raise Skip(f"no mkfs.{kind}")
        disk, qcow2 = self.get("disk.raw"), self.get("disk.qcow2")
        image, folder = self.path(kind + ".img"), self.path("mnt." + kind)
        with open(image, "wb") as f:
            f.truncate(24 * GIB // self.scale)
        os.makedirs(folder, exist_ok=True)
        force = "-f" if kind == "btrfs" else "-q"
        for command in (["mkfs." + kind, force, image], ["mount", "-o", "loop", image, folder]):
            r = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                               text=True)
            if r.returncode:
                os.remove(image)
                raise Skip(f"{command[0]}: {r.stderr.strip()[:60]}")
        self.mounts[kind] = folder
        for source in (disk, qcow2):
            subprocess.run(["cp", "--sparse=always", source, folder], check=True)
        os.sync()
        return folder

    def close(self, keep):
        for kind, folder in self.mounts.items():
            subprocess.run(["umount", folder], check=True)
            os.rmdir(folder)
            os.remove(self.path(kind + ".img"))
        self.mounts = {}
        if not keep:
            for name in os.listdir(self.folder):
                if name.endswith((".raw", ".qcow2", ".part")):
                    os.remove(self.path(name))
