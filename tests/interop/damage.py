"""Fields of a qcow2 file by name, to be read and damaged: damage.py FILE STATEMENT...

The statements are Python, with q the image, C the copied flag, Z the compressed flag:
    q.l2(3), q.sl2(3, v[, l1 index]), q.bm/q.sbm (subcluster bitmap), q.l1/q.sl1,
    q.rb/q.srb (refcount table entry), q.ref/q.sref (16-bit refcount), q.r64/q.w64,
    q.r32/q.w32, q.w(off, bytes), q.cut(size), q.snaps(), q.bitmaps(), q.ext(type)
"""
import struct
import sys

C, Z = 1 << 63, 1 << 62
MASK = 0x00FFFFFFFFFFFE00


class Image:
    def __init__(self, path):
        self.f = open(path, "r+b")
        h = self.r(0, 72)
        (self.magic, self.version, self.back_off, self.back_len, self.bits, self.size,
         self.crypt, self.l1n, self.l1o, self.rto, self.rtc, self.nsnap,
         self.snapo) = struct.unpack(">IIQIIQIIQQIIQ", h)
        self.incompat, self.order, self.head = 0, 4, 72
        if self.version > 2:
            self.incompat = self.r64(72)
            self.order, self.head = self.r32(96), self.r32(100)
        self.cs = 1 << self.bits
        self.entry = 16 if self.incompat & 16 else 8

    def r(self, off, n):
        self.f.seek(off)
        return self.f.read(n)

    def w(self, off, data):
        self.f.seek(off)
        self.f.write(data)
        self.f.flush()

    def cut(self, size):
        self.f.truncate(size)

    def r64(self, off):
        return struct.unpack(">Q", self.r(off, 8))[0]

    def w64(self, off, v):
        self.w(off, struct.pack(">Q", v))

    def r32(self, off):
        return struct.unpack(">I", self.r(off, 4))[0]

    def w32(self, off, v):
        self.w(off, struct.pack(">I", v))

    def l1(self, i=0):
        return self.r64(self.l1o + 8 * i)

    def sl1(self, i, v):
        self.w64(self.l1o + 8 * i, v)

    def at(self, i, l1=0):
        return (self.l1(l1) & MASK) + self.entry * i

    def l2(self, i, l1=0):
        return self.r64(self.at(i, l1))

    def sl2(self, i, v, l1=0):
        self.w64(self.at(i, l1), v)

    def bm(self, i, l1=0):
        return self.r64(self.at(i, l1) + 8)

    def sbm(self, i, v, l1=0):
        self.w64(self.at(i, l1) + 8, v)

    def rb(self, i=0):
        return self.r64(self.rto + 8 * i)

    def srb(self, i, v):
        self.w64(self.rto + 8 * i, v)

    def refat(self, cl):
        per = self.cs // 2
        return (self.rb(cl // per) & ~511) + 2 * (cl % per)

    def ref(self, cl):
        return struct.unpack(">H", self.r(self.refat(cl), 2))[0]

    def sref(self, cl, v):
        self.w(self.refat(cl), struct.pack(">H", v))

    def snaps(self):
        """Offsets of the snapshot table's entries, and the end."""
        out, off = [], self.snapo
        for _ in range(self.nsnap):
            out.append(off)
            n = 40 + self.r32(off + 36) + sum(struct.unpack(">HH", self.r(off + 12, 4)))
            off += (n + 7) // 8 * 8
        return out + [off]

    def ext(self, kind):
        """Offset of a header extension's data."""
        off = self.head
        while True:
            this, n = struct.unpack(">II", self.r(off, 8))
            if this == kind:
                return off + 8
            assert this, "no such extension"
            off += 8 + (n + 7) // 8 * 8

    def bitmaps(self):
        """Offsets of the bitmap directory's entries."""
        e = self.ext(0x23852875)
        out, off = [], self.r64(e + 16)
        for _ in range(self.r32(e)):
            out.append(off)
            name, extra = struct.unpack(">HI", self.r(off + 18, 6))
            off += (24 + extra + name + 7) // 8 * 8
        return out


if __name__ == "__main__":
    q = Image(sys.argv[1])
    for statement in sys.argv[2:]:
        exec(statement)
