#!/usr/bin/env python3
"""A small reader of qcow2, to have a second opinion beside the peer's.

	reader.py [-l SNAPSHOT] IMAGE OUT
	reader.py --same [-l SNAPSHOT] RAW IMAGE
	reader.py -

The first writes the disk that a guest sees in IMAGE to OUT, a sparse raw file. The
second says whether it is RAW, but for zeros at its end up to a whole sector. The third
takes such words line by line and answers each line with one: "same", "written", or what
is wrong. The exit code is 1 for a difference and 2 for an image that breaks a rule.

It is written from docs/interop/qcow2.rst of QEMU alone, shares no code with the program
under test, and is strict: what the specification reserves must be zero, what it wants
aligned must be aligned, and every place must lie in the file. Encryption is not read.
"""
import ctypes
import ctypes.util
import os
import re
import shlex
import struct
import sys
import zlib

MAGIC = b'QFI\xfb'
DIRTY, CORRUPT, DATA_FILE, COMPRESSION, EXTENDED = 1, 2, 4, 8, 16
PLACE = 0x00fffffffffffe00  # bits 9 to 55
COPIED, PACKED, ZERO = 1 << 63, 1 << 62, 1


class Bad(Exception):
	pass


def need(true, text, *values):
	if not true:
		raise Bad(text % values)


def read_at(fd, n, off):
	got = os.pread(fd, n, off)
	need(len(got) == n, '%d bytes at %#x: the file ends before', n, off)
	return got


def find_zstd():
	try:
		lib = ctypes.CDLL(ctypes.util.find_library('zstd') or 'libzstd.so.1')
	except OSError:
		raise Bad('no libzstd to read zstd with')
	size = ctypes.c_size_t
	lib.ZSTD_findFrameCompressedSize.restype = size
	lib.ZSTD_findFrameCompressedSize.argtypes = [ctypes.c_char_p, size]
	lib.ZSTD_decompress.restype = size
	lib.ZSTD_decompress.argtypes = [ctypes.c_char_p, size, ctypes.c_char_p, size]
	return lib


def unzstd(packed, n):
	lib = find_zstd()
	out = ctypes.create_string_buffer(n)
	used = lib.ZSTD_findFrameCompressedSize(packed, len(packed))
	need(used <= len(packed), 'no whole zstd frame')
	got = lib.ZSTD_decompress(out, n, packed, used)
	need(got <= n, 'a zstd frame that cannot be decompressed to a cluster')
	return out.raw[:got]


def inflate(packed, n):
	try:
		return zlib.decompressobj(-15).decompress(packed, n)
	except zlib.error as e:
		raise Bad('deflate: %s' % e)


class Raw:
	def __init__(self, path, below=None):
		self.fd = os.open(path, os.O_RDONLY)
		self.size = os.fstat(self.fd).st_size

	def copy(self, out, off, end):
		end = min(end, self.size)
		while off < end:
			try:
				off = os.lseek(self.fd, off, os.SEEK_DATA)
			except OSError:
				return
			stop = min(end, os.lseek(self.fd, off, os.SEEK_HOLE), off + (4 << 20))
			if off < stop:
				out.put(read_at(self.fd, stop - off, off), off)
			off = max(off, stop)

	def close(self):
		os.close(self.fd)


class Qcow2:
	def __init__(self, path, depth=0):
		need(depth < 200, 'a chain without end')
		self.fd = os.open(path, os.O_RDONLY)
		self.end = os.fstat(self.fd).st_size
		self.data = self.fd
		self.data_end = self.end
		self.backing = None
		self.header()
		folder = os.path.dirname(path)
		if self.features & DATA_FILE:
			name = self.extensions.get(0x44415441)
			need(name, 'no name of the data file')
			self.data = os.open(os.path.join(os.fsencode(folder), name), os.O_RDONLY)
			self.data_end = os.fstat(self.data).st_size
		if self.backing_name:
			name = os.fsdecode(os.path.join(os.fsencode(folder), self.backing_name))
			need(not re.match(r'[a-z+-]+:', name), 'a backing file that is no path')
			fmt = self.extensions.get(0xe2792aca)
			self.backing = open_image(name, fmt and fmt.decode(), depth + 1)
		self.l1 = self.table(self.l1_off, self.l1_size, self.size)

	def header(self):
		head = read_at(self.fd, 72, 0)
		(magic, version, name_off, name_len, self.bits, self.size, crypt, self.l1_size,
		 self.l1_off, self.reftable, self.reftable_cl, self.nsnap, self.snap_off,
		 ) = struct.unpack('>4sIQIIQIIQQIIQ', head)
		need(magic == MAGIC, 'not a qcow2 image')
		need(version in (2, 3), 'version %d', version)
		need(9 <= self.bits <= 21, 'cluster_bits %d', self.bits)
		need(crypt == 0, 'encrypted')
		self.version = version
		self.features, self.auto, order, length, kind = 0, 0, 4, 72, 0
		if version == 3:
			self.features, _, self.auto, order, length = struct.unpack(
				'>QQQII', read_at(self.fd, 32, 72))
			need(length >= 104 and length % 8 == 0, 'header_length %d', length)
			if length > 104:
				kind = read_at(self.fd, 1, 104)[0]
				need(not any(read_at(self.fd, min(length, 112) - 105, 105)),
				     'padding of the header')
		need(order <= 6, 'refcount_order %d', order)
		need(self.features & ~31 == 0, 'incompatible features %#x', self.features)
		need(not self.features & CORRUPT, 'marked as corrupt')
		need(bool(self.features & COMPRESSION) == (kind != 0) and kind <= 1,
		     'compression type %d', kind)
		need(not self.auto & 2 or self.features & DATA_FILE, 'raw data without a file')
		self.unpack = unzstd if kind else inflate
		self.cluster = 1 << self.bits
		self.mask = self.cluster - 1
		self.ext = bool(self.features & EXTENDED)
		need(not self.ext or self.bits >= 14, 'extended L2 entries in small clusters')
		self.entries = self.cluster // (16 if self.ext else 8)
		self.extensions = self.read_extensions(length, name_off or self.cluster)
		self.backing_name = None
		if name_off:
			need(name_len <= 1023 and name_off + name_len <= self.cluster, 'backing name')
			self.backing_name = read_at(self.fd, name_len, name_off)
		for off in (self.reftable, self.l1_off, self.snap_off):
			need(off & self.mask == 0, 'a table at %#x', off)
		need(not self.nsnap or self.snap_off, 'no place of snapshots')

	def read_extensions(self, off, stop):
		found = {}
		while off + 8 <= min(stop, self.end):
			kind, n = struct.unpack('>II', read_at(self.fd, 8, off))
			if kind == 0:
				break
			need(off + 8 + n <= stop, 'an extension longer than the header')
			need(kind not in found, 'extension %#x twice', kind)
			found[kind] = read_at(self.fd, n, off + 8)
			off += 8 + (n + 7) // 8 * 8
		return found

	def table(self, off, n, size):
		per_l2 = self.cluster * self.entries
		need(n >= -(-size // per_l2), 'an L1 table of %d entries', n)
		l1 = struct.unpack('>%dQ' % n, read_at(self.fd, 8 * n, off)) if n else ()
		for e in l1:
			need(e & ~(COPIED | PLACE) == 0, 'reserved bits in L1 entry %#x', e)
			need(e & PLACE & self.mask == 0, 'an L2 table at %#x', e & PLACE)
		return l1

	def use_snapshot(self, want):
		off = self.snap_off
		for _ in range(self.nsnap):
			l1, n, idn, namen, _, _, _, vm, extra = struct.unpack(
				'>QIHHIIQII', read_at(self.fd, 40, off))
			need(self.version == 2 or extra >= 16, 'no disk size in a snapshot')
			rest = read_at(self.fd, extra + idn + namen, off + 40)
			names = rest[extra:extra + idn], rest[extra + idn:]
			if os.fsencode(want) in names:
				if extra >= 16:
					self.size = struct.unpack('>Q', rest[8:16])[0]
				self.l1 = self.table(l1, n, self.size)
				return
			off += (40 + len(rest) + 7) // 8 * 8
		raise Bad('no snapshot %s' % want)

	def below(self, out, off, end):
		if self.backing:
			self.backing.copy(out, off, min(end, self.backing.size))

	def copy(self, out, off, end):
		span = self.cluster * self.entries
		end = min(end, self.size)
		start = None  # of a run of L2 tables that are not there
		while off < end:
			stop = min(end, off - off % span + span)
			place = self.l1[off // span] & PLACE
			if place:
				if start is not None:
					self.below(out, start, off)
					start = None
				self.copy_l2(out, place, off, stop)
			elif start is None:
				start = off
			off = stop
		if start is not None:
			self.below(out, start, end)

	def copy_l2(self, out, place, off, end):
		raw = read_at(self.fd, self.cluster, place)
		width = 2 if self.ext else 1
		l2 = struct.unpack('>%dQ' % (self.entries * width), raw)
		first = off - off % (self.cluster * self.entries)
		start = None
		while off < end:
			i = (off - first) >> self.bits
			entry = l2[i * width]
			sub = l2[i * 2 + 1] if self.ext else None
			stop = min(end, (off & ~self.mask) + self.cluster)
			if entry == 0 and not sub:
				start = off if start is None else start
			else:
				if start is not None:
					self.below(out, start, off)
					start = None
				self.copy_cluster(out, entry, sub, off, stop)
			off = stop
		if start is not None:
			self.below(out, start, end)

	def copy_cluster(self, out, entry, sub, off, end):
		skip = off & self.mask
		if entry & PACKED:
			need(not entry & COPIED, 'COPIED in a compressed cluster %#x', entry)
			need(not self.features & DATA_FILE, 'compressed, with a data file')
			out.put(self.read_packed(entry)[skip:skip + end - off], off)
			return
		place = entry & PLACE
		zero = ZERO if self.version == 3 and not self.ext else 0
		need(entry & ~(COPIED | PLACE | zero) == 0, 'reserved bits in L2 entry %#x', entry)
		need(place & self.mask == 0, 'a cluster at %#x', place)
		has = place != 0 or (self.features & DATA_FILE and entry & COPIED)
		if self.features & DATA_FILE and has:
			need(place == off - skip, 'guest offset %#x at %#x', off - skip, place)
		if sub is not None:
			self.copy_parts(out, place, has, sub, off, end)
		elif entry & zero:
			pass
		elif has:
			self.copy_plain(out, place + skip, off, end)
		else:
			need(entry == 0, 'an L2 entry %#x', entry)
			self.below(out, off, end)

	def copy_parts(self, out, place, has, sub, off, end):
		alloc, zero = sub & 0xffffffff, sub >> 32
		need(alloc & zero == 0, 'subclusters %#x are both zero and data', alloc & zero)
		need(has or not alloc, 'subclusters without a cluster')
		part = self.cluster // 32
		while off < end:
			skip = off & self.mask
			bit = 1 << (skip // part)
			stop = min(end, off - skip % part + part)
			if alloc & bit:
				self.copy_plain(out, place + skip, off, stop)
			elif not zero & bit:
				self.below(out, off, stop)
			off = stop

	def copy_plain(self, out, place, off, end):
		# the last cluster of a file may end early: the guest never wrote there
		n = min(end - off, max(0, self.data_end - place))
		need(n or self.data != self.fd, 'a cluster at %#x, behind the end', place)
		out.put(read_at(self.data, n, place), off)

	def read_packed(self, entry):
		x = 62 - (self.bits - 8)
		place = entry & ((1 << x) - 1)
		need(place < 1 << 56, 'compressed bytes at %#x', place)
		more = (entry & (PACKED - 1)) >> x
		n = (place | 511) + 1 - place + 512 * more
		packed = read_at(self.fd, min(n, max(1, self.end - place)), place)
		cluster = self.unpack(packed, self.cluster)
		need(len(cluster) == self.cluster, 'a compressed cluster of %d bytes', len(cluster))
		return cluster

	def close(self):
		os.close(self.fd)
		if self.data != self.fd:
			os.close(self.data)
		if self.backing:
			self.backing.close()


def open_image(path, fmt=None, depth=0):
	if fmt is None:
		with open(path, 'rb') as f:
			fmt = 'qcow2' if f.read(4) == MAGIC else 'raw'
	need(fmt in ('raw', 'qcow2'), 'format %s', fmt)
	return Raw(path, depth) if fmt == 'raw' else Qcow2(path, depth)


class Writer:
	"""A new sparse file; every byte is put at most once."""

	def __init__(self, path, size):
		self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
		os.ftruncate(self.fd, size)

	def put(self, data, off):
		while data:
			n = os.pwrite(self.fd, data, off)
			data, off = data[n:], off + n

	def close(self):
		os.close(self.fd)


class Comparer:
	"""Takes what an image has and finds what is not in a raw file of the same disk."""

	def __init__(self, path):
		self.raw = Raw(path)
		self.seen = []  # runs that were put, each (off, end)

	def put(self, data, off):
		want = os.pread(self.raw.fd, len(data), off)
		want += bytes(len(data) - len(want))
		if want != data:
			at = next(i for i in range(len(data)) if data[i] != want[i])
			raise Bad('differs at %d' % (off + at))
		self.seen.append((off, off + len(data)))

	def rest(self, size):
		"""What was not put reads as zeros."""
		at = 0
		for off, end in sorted(self.seen) + [(size, size)]:
			need(off >= at, 'byte %d twice', off)
			self.zeros(at, off)
			at = end

	def zeros(self, off, end):
		class Zeros:
			def put(self, data, off):
				need(not any(data), 'differs somewhere in the %d bytes from %d on',
				     len(data), off)
		self.raw.copy(Zeros(), off, end)


def open_at(path, snapshot):
	image = open_image(path)
	if snapshot:
		image.use_snapshot(snapshot)
	return image


def compare(raw, path, snapshot):
	image = open_at(path, snapshot)
	out = Comparer(raw)
	need(out.raw.size <= image.size < out.raw.size + 512, 'differs: %d bytes, not %d',
	     image.size, out.raw.size)
	image.copy(out, 0, image.size)
	out.rest(image.size)
	image.close()
	out.raw.close()


def extract(path, name, snapshot):
	image = open_at(path, snapshot)
	out = Writer(name, image.size)
	image.copy(out, 0, image.size)
	out.close()
	image.close()


def do(words):
	"""The exit code and a text."""
	same, snapshot = words[:1] == ['--same'], None
	words = words[1:] if same else words
	if words[:1] == ['-l'] and len(words) > 1:
		snapshot, words = words[1], words[2:]
	if len(words) != 2:
		return 2, __doc__
	try:
		if same:
			compare(words[0], words[1], snapshot)
			return 0, 'same'
		extract(words[0], words[1], snapshot)
		return 0, 'written'
	except (Bad, OSError) as e:
		return 1 if str(e).startswith('differs') else 2, str(e)


def main(words):
	if words == ['-']:
		for line in sys.stdin:
			print(do(shlex.split(line))[1], flush=True)
		return 0
	status, text = do(words)
	if status:
		print(text, file=sys.stderr)
	return status


if __name__ == '__main__':
	sys.exit(main(sys.argv[1:]))
