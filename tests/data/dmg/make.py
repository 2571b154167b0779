#!/usr/bin/env python3
"""Makes the golden images anew: tests/data/dmg, cloop and bochs. The disk is that of
golden_byte() in tests/lib/golden.h: what is stored differs with the versions of the libraries
that compress, what it shows does not."""
import os
import subprocess
import sys
import tempfile

here = os.path.dirname(os.path.abspath(__file__))
tools = os.path.join(here, "../../interop")
sys.path.insert(0, tools)
import lzfse  # noqa: E402


def disk(sectors):
    out = bytearray()
    for s in range(sectors):
        if s // 4 % 5 == 3:
            out += bytes(512)
        else:
            out += bytes((i // (50 + s % 7) * 31 + s // 4) & 255 for i in range(512))
    return bytes(out)


def make(tool, name, *args):
    os.makedirs(os.path.dirname(os.path.join(here, name)), exist_ok=True)
    subprocess.run([sys.executable, os.path.join(tools, tool), *args, raw,
                    os.path.join(here, name)], check=True)


with tempfile.NamedTemporaryFile() as f:
    raw = f.name
    f.write(disk(83))
    f.flush()
    make("mkdmg.py", "mix.dmg", "-k", "MIX", "-c", "4", "-p", "0,1,24")
    make("mkdmg.py", "fork.dmg", "-k", "UDZO", "-c", "32", "-p", "0,1,24", "--fork", "--base",
         "-z", "ignore")
    make("mkcloop.py", "../cloop/blocks.cloop", "-b", "4096")
    f.truncate(35 * 512)
    make("mkbochs.py", "../bochs/v1.bochs", "-1", "-e", "2048", "-r")
    f.truncate(17 * 512)
    make("mkdmg.py", "plain.dmg", "-k", "UDIF")
    make("mkbochs.py", "../bochs/v2.bochs", "-e", "8192")
data = disk(222)
with open(os.path.join(here, "lzfse"), "wb") as f:
    f.write(lzfse.compress(data, "2n1-2"))
