#!/usr/bin/env python3
"""seeds_dmg.py DATA TOOLS: seeds of dmg, cloop, bochs and unpack, in folders of DATA."""
import bz2
import lzma
import os
import subprocess
import sys
import zlib

data, tools = sys.argv[1:]
sys.path.insert(0, tools)
import lzfse  # noqa: E402
import mkdmg  # noqa: E402

for d in "dmg", "cloop", "bochs", "unpack":
    os.makedirs(os.path.join(data, d), exist_ok=True)
raw = b"".join(bytes(512) if s % 5 == 3 else b"%d sectors " % s * 40 for s in range(17))
raw = raw[:7000]
with open("raw", "wb") as f:
    f.write(raw)


def mk(tool, name, *args):
    subprocess.run([sys.executable, os.path.join(tools, tool), *args, "raw",
                    os.path.join(data, name)], check=True)


mk("mkdmg.py", "dmg/fork", "-k", "MIX", "-c", "2", "-p", "0,1", "--fork")
mk("mkdmg.py", "dmg/plist", "-k", "UDZO", "-c", "4")
mk("mkdmg.py", "dmg/plain", "-k", "UDIF")
mk("mkcloop.py", "cloop/blocks", "-b", "1024")
mk("mkbochs.py", "bochs/v1", "-1", "-e", "1024", "-r")
mk("mkbochs.py", "bochs/v2", "-e", "2048")
text = raw[:2048]
for i, packed in enumerate([mkdmg.adc(text), lzfse.compress(text, "2"),
                            lzfse.compress(text * 9, "n2-1"), zlib.compress(text),
                            bz2.compress(text), lzma.compress(text)]):
    name = ["adc", "lzfse", "mixed", "zlib", "bzip2", "xz"][i]
    with open(os.path.join(data, "unpack", name), "wb") as f:
        f.write(bytes([i, 18 if i == 2 else 2]) + packed)
