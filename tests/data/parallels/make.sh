#!/bin/bash
# Makes the images of this folder: tests/interop/mkparallels.py, from the specification alone.
cd "${0%/*}" || exit
mk() { python3 ../../interop/mkparallels.py "$@"; }
mk image clusters.hds bat=1,2,0,3 sectors=7
mk image sectors.hds magic=WithoutFreeSpace bat=1,0,8 tracks=7 sectors=20 data_off=1 fill=no size=7680
printf 63 | dd of=sectors.hds bs=1 seek=512 conv=notrunc status=none
printf end | dd of=sectors.hds bs=1 seek=7165 conv=notrunc status=none
mk image bitmap.hds bat=1,2,0,3,0,0,0,0 sectors=16
mk extend bitmap.hds bits=0x14
mk image base.hds bat=1,2,3,0,0,0
mk image top.hds magic=WithoutFreeSpace bat=0,2,0,4,0,0
mk disk . storage=0:12:top.hds,base.hds storage=12:16:empty.hds,plain.raw
mk image empty.hds bat=0,0
