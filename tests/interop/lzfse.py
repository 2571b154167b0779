"""LZFSE for tests: every kind of block, and all that a block can hold.

compress(data) cuts data into pieces, which become in turn: coded blocks with packed tables,
LZVN, coded blocks with plain tables, stored ones. compress(data, "2n1-") says the order.

The coder of states is made by turning the decoder's table around: a symbol's states are
intervals of next states, and going backwards from the last symbol finds the one that the
known next state is in.
"""
import struct

L_BITS = [0] * 16 + [2, 3, 5, 8]
M_BITS = [0] * 16 + [3, 5, 8, 11]
D_BITS = [i // 4 for i in range(64)]


def bases(bits):
    out, base = [], 0
    for b in bits:
        out.append(base)
        base += 1 << b
    return out


VALUES = [(L_BITS, bases(L_BITS)), (M_BITS, bases(M_BITS)), (D_BITS, bases(D_BITS))]
STATES = [64, 64, 256, 1024]
L_MAX, M_MAX, D_MAX = 315, 2359, 262139


def symbol(kind, value):
    bits, base = VALUES[kind]
    s = max(i for i, b in enumerate(base) if b <= value)
    return s, bits[s], value - base[s]


def matches(data, start, end, reach):
    """(literals, length, distance) of data[start:end]; the last may have length 0."""
    last, out, lit, i = {}, [], start, start
    for k in range(max(0, start - 3000), start):
        last[data[k:k + 4]] = k
    while i < end:
        at = last.get(data[i:i + 4], -1)
        n = 0
        if at >= 0 and i - at <= reach:
            while i + n < end and n < 5000 and data[at + n] == data[i + n]:
                n += 1
        if n >= 4:
            out.append((lit, i - lit, n, i - at))
            for k in range(i, i + n, 7):
                last[data[k:k + 4]] = k
            i += n
            lit = i
        else:
            last[data[i:i + 4]] = i
            i += 1
    if lit < end:
        out.append((lit, end - lit, 0, 1))
    return out


def normalize(counts, states):
    total = sum(counts)
    if total == 0:
        return [states] + [0] * (len(counts) - 1)
    f = [max(1, c * states // total) if c else 0 for c in counts]
    while sum(f) > states:
        f[f.index(max(f))] -= 1
    f[f.index(max(f))] += states - sum(f)
    return f


class Coder:
    """Symbols of one table, told backwards."""

    def __init__(self, freq, states):
        self.ways, self.state, index = {}, 0, 0
        for s, f in enumerate(freq):
            if not f:
                continue
            k = (states // f).bit_length() - 1
            if f << k < states:
                k += 1
            wide = (2 * states >> k) - f
            ways = []
            for i in range(f):
                if i < wide:
                    ways.append((((f + i) << k) - states, k, index + i))
                else:
                    ways.append(((i - wide) << (k - 1), k - 1, index + i))
            self.ways[s] = ways
            index += f

    def put(self, out, s):
        for low, k, state in self.ways[s]:
            if low <= self.state < low + (1 << k):
                out.append((self.state - low, k))
                self.state = state
                return
        raise AssertionError("no state")


def stream(pieces):
    """Bits, the first lowest; and what is missing of the last byte, as 0 to -7."""
    acc = n = 0
    for value, bits in pieces:
        acc |= value << n
        n += bits
    size = (n + 7) // 8
    return acc.to_bytes(size, "little"), n - 8 * size


def frequencies(freq):
    code = {0: (0, 2), 1: (2, 2), 2: (1, 3), 3: (5, 3), 4: (3, 5), 5: (11, 5), 6: (19, 5),
            7: (27, 5)}
    pieces = []
    for f in freq:
        if f in code:
            pieces.append(code[f])
        elif f < 24:
            pieces.append((7 | (f - 8) << 4, 8))
        else:
            pieces.append((15 | (f - 24) << 4, 14))
    return stream(pieces)[0]


def coded(data, start, end, packed):
    lmd, literals, before = [], bytearray(), 0
    for lit, n, m, d in matches(data, start, end, D_MAX):
        while n > L_MAX:
            lmd.append((L_MAX, 0, before or 1))
            literals += data[lit:lit + L_MAX]
            lit += L_MAX
            n -= L_MAX
            before = before or 1
        literals += data[lit:lit + n]
        while m > M_MAX:
            lmd.append((n, M_MAX, 0 if d == before else d))
            n, m, before = 0, m - M_MAX, d
        lmd.append((n, m, 0 if d == before else d))
        before = d
    literals += bytes(-len(literals) % 4)
    assert len(literals) <= 40000 and len(lmd) <= 10000
    counts = [[0] * 20, [0] * 20, [0] * 64, [0] * 256]
    for triple in lmd:
        for kind, v in enumerate(triple):
            counts[kind][symbol(kind, v)[0]] += 1
    for b in literals:
        counts[3][b] += 1
    freq = [normalize(c, s) for c, s in zip(counts, STATES)]
    lit_coders = [Coder(freq[3], 1024) for _ in range(4)]
    pieces = []
    for i in range(len(literals) - 1, -1, -1):
        lit_coders[i % 4].put(pieces, literals[i])
    lit_bytes, lit_pad = stream(pieces)
    coders = [Coder(f, s) for f, s in zip(freq[:3], STATES)]
    pieces = []
    for triple in reversed(lmd):
        for kind in (2, 1, 0):
            s, extra, rest = symbol(kind, triple[kind])
            pieces.append((rest, extra))
            coders[kind].put(pieces, s)
    lmd_bytes, lmd_pad = stream(pieces)
    flat = sum(freq, [])
    raw = end - start
    if not packed:
        head = struct.pack("<4s6Ii4HiHHH360HH", b"bvx1", raw, len(lit_bytes) + len(lmd_bytes),
                           len(literals), len(lmd), len(lit_bytes), len(lmd_bytes), lit_pad,
                           *[c.state for c in lit_coders], lmd_pad,
                           *[c.state for c in coders], *flat, 0)
        return head + lit_bytes + lmd_bytes
    table = frequencies(flat)
    a = len(literals) | len(lit_bytes) << 20 | len(lmd) << 40 | (lit_pad + 7) << 60
    b = sum(c.state << 10 * i for i, c in enumerate(lit_coders))
    b |= len(lmd_bytes) << 40 | (lmd_pad + 7) << 60
    c = 32 + len(table) | sum(k.state << 32 + 10 * i for i, k in enumerate(coders))
    return struct.pack("<4sIQQQ", b"bvx2", raw, a, b, c) + table + lit_bytes + lmd_bytes


def lzvn(data, start, end):
    out, before, turn = bytearray(), 0, 0

    def literals(at, n):
        while n > 0:
            k = min(n, 271)
            if k < 16:
                out.append(0xE0 | k)
            else:
                out.extend([0xE0, k - 16])
            out.extend(data[at:at + k])
            at, n = at + k, n - k

    def again(n):
        while n > 0:
            k = min(n, 271)
            out.extend([0xF0 | k] if k < 16 else [0xF0, k - 16])
            n -= k

    for at, n, m, d in matches(data, start, end, 65535):
        if at + n - d < start:  # LZVN looks at its own block only
            literals(at, n + m)
            continue
        keep = min(n, 3)
        literals(at, n - keep)
        lit = data[at + n - keep:at + n]
        if m == 0:
            literals(at + n - keep, keep)
            continue
        turn += 1
        if turn % 50 == 0:
            out.append(0x0E if turn % 100 else 0x16)
        # keep and the length share a byte with the kind: not all pairs can be told
        small = [b for b in (min(m, 10),) if b >= 3]
        if d == before and keep == 0:
            again(m)
            continue
        k = small[0]
        if d == before and keep and (keep << 6 | (k - 3) << 3) < 0xD0 and \
                not 0x70 <= (keep << 6 | (k - 3) << 3) < 0x80:
            code = keep << 6 | (k - 3) << 3 | 6
            if code >> 4 in (0xA, 0xB):
                literals(at + n - keep, keep)
                again(m)
                continue
            out.append(code)
        elif d < 0x600 and turn % 3 and valid(keep << 6 | (k - 3) << 3):
            out.extend([keep << 6 | (k - 3) << 3 | d >> 8, d & 255])
        elif d < 1 << 14 and turn % 2:
            k = min(m, 34)
            out.append(0xA0 | keep << 3 | (k - 3) >> 2)
            out.extend(struct.pack("<H", d << 2 | (k - 3) & 3))
        else:
            if not valid(keep << 6 | (k - 3) << 3):
                literals(at + n - keep, keep)
                keep, lit = 0, b""
            code = (k - 3) << 3 | keep << 6 | 7
            if not valid(code & 0xF8):
                k = min(k, 8)
                code = (k - 3) << 3 | 7
            out.append(code)
            out.extend(struct.pack("<H", d))
        out.extend(lit)
        before = d
        again(m - k)
    out.extend([6] + [0] * 7)
    return struct.pack("<4sII", b"bvxn", end - start, len(out)) + bytes(out)


def valid(code):
    return code >> 4 not in (7, 0xA, 0xB, 0xD, 0xE, 0xF)


def compress(data, kinds="2n1-2"):
    out, at, turn = bytearray(), 0, 0
    while at < len(data):
        kind = kinds[turn % len(kinds)]
        n = min(len(data) - at, {"-": 3000, "n": 20000}.get(kind, 30000))
        if kind == "-":
            out += struct.pack("<4sI", b"bvx-", n) + data[at:at + n]
        elif kind == "n":
            out += lzvn(data, at, at + n)
        else:
            out += coded(data, at, at + n, kind == "2")
        at += n
        turn += 1
    return bytes(out) + b"bvx$"
