#!/bin/bash
# create beside the peer: the same words, errors and exit codes, and images that the peer
# finds sound and the same as its own.
. "${0%/*}/../tap.sh"
skip_unless qemu-img
peer_version qemu-img

twins
twin truncate -s 1M base
twin @QIMG@ create -q -f qcow2 base.q 2M
twin mkdir sub

# create it in both folders, then have the peer look at both
created() {
	rm -f {ours,peer}/new
	same_output create "$@" || return
	[ "$rc" = 0 ] && [ -e peer/new ] || return
	local a b
	a=$(cd ours && "$PEER" info --output=json new | grep -v actual-size)
	b=$(cd peer && "$PEER" info --output=json new | grep -v actual-size)
	is "$a" "$b" "the same to the peer: create $*"
	case "$a $*" in
	*' -u '*) ;; # its backing file is not there
	*'"format": "qcow2"'*) (cd ours && ok -n "sound: create $*" "$PEER" check -q new) ;;
	esac
}

created new 0
created new 10
created new 1M
created -f raw new 1.5G
created -f raw -o size=3k new
created -f raw -o preallocation=full new 1M
created -f raw -o preallocation=falloc,nocow=off new 1M
created -f raw -o preallocation=metadata new 1M
created -f raw -o preallocation=nothing new 1M
created -f raw -o preallocation= new 1M
created -f raw -o extent_size_hint=1M,nocow=on new 1M
for o in '' cluster_size=512 cluster_size=2M cluster_size=0x1000 compat=0.10 compat=1.1 compat=v2 \
	compat=v3 lazy_refcounts=on lazy_refcounts nolazy_refcounts lazy_refcounts=yes \
	refcount_bits=1 refcount_bits=64 refcount_bits=010 extended_l2=on compression_type=zlib \
	compression_type=zstd preallocation=off preallocation=metadata preallocation=falloc \
	preallocation=full cluster_size=4k,refcount_bits=8,extended_l2=on,cluster_size=64k \
	nocow=off compat=1.1,lazy_refcounts=off,compression_type=zlib; do
	created -f qcow2 ${o:+-o "$o"} new 64M
done
created -f qcow2 -o cluster_size=4k -o lazy_refcounts=on new 1M
for s in 0 1 511 513 1000 65535 1T 0x1000 1.00001k; do
	created -f qcow2 new $s
done
created -f qcow2 -o data_file=new.d,data_file_raw=on new 1M
rm -f {ours,peer}/new.d
created -f qcow2 -o data_file=new.d new 1M
rm -f {ours,peer}/new.d

# backing files
for a in '-b base -F raw' '-b base.q -F qcow2' '-o backing_file=base,backing_fmt=raw' \
	'-o backing_file=base -F raw' '-o backing_file=nothing,backing_fmt=raw -b base' \
	'-u -b nothing -F raw -o size=1M' '-b base -F raw -o size=3M'; do
	# shellcheck disable=SC2086
	created -f qcow2 $a new
done
created -f qcow2 -b base -F raw new 512
twin @QIMG@ create -q -f qcow2 -b ../base -F raw sub/over
created -f qcow2 -b sub/over -F qcow2 new
created -f qcow2 -b base -F raw sub/new
created -f qcow2 -b nothing -F raw new
created -f qcow2 -b nothing new 1M
created -f qcow2 -u -b nothing -F raw new
created -f qcow2 -u -b nothing new 1M
created -f qcow2 -b base -F qcow2 new
created -f qcow2 -b base -F nothing new 1M
created -f qcow2 -b base -F '' new 1M
created -f qcow2 -F raw new 1M
created -f qcow2 -F nothing new 1M
created -f qcow2 -b '' new 1M
created -f qcow2 -b new -F raw new 1M
created -f raw -b base new 1M
created -f raw -b base -F raw new 1M
created -f raw -F raw new 1M
created -f qcow2 -b base -F raw -o preallocation=metadata new
# the peer's last line has no end
for b in base base.q; do
	exits 1 qimg create -f qcow2 -b peer/$b new
	is "$err" "$("$PEER" create -f qcow2 -b peer/$b new 2>&1)" "no format, $b: the same"
done

# options that are wrong
for o in nothing nothing=1 lazy_refcounts=ON lazy_refcounts= cluster_size=x cluster_size= \
	cluster_size=-1 cluster_size=3 cluster_size=1.5k cluster_size=256 cluster_size=4M \
	refcount_bits=3 refcount_bits=128 refcount_bits=0 refcount_bits=x refcount_bits=16k \
	refcount_bits=99999999999999999999 cluster_size=99999999999999999999 compat=9 compat= \
	compat=v3,,x compression_type=lz4 compat=0.10,lazy_refcounts=on \
	compat=0.10,refcount_bits=1 compat=0.10,extended_l2=on compat=0.10,compression_type=zstd \
	compat=0.10,data_file=x extended_l2=on,cluster_size=8k data_file_raw=on \
	preallocation=nothing preallocation= ,compat=v3 'compat=v3,' ',' '' =x a,b nocow no nohelp \
	help=x Compat=v3 lazy-refcounts=on size= size=x size=2M; do
	created -f qcow2 -o "$o" new 1M
done

# help
for a in '-f qcow2' '-f raw' '' '-f nothing'; do
	# shellcheck disable=SC2086
	for f in '' new /dev/null x:y; do
		same_output create $a -o help $f
		same_output create $a -o compat=v3,? $f
	done
done

# arguments that are wrong
same_output create
same_output create -f qcow2
same_output create new
same_output create -f qcow2 new
same_output create new 1M 2M
same_output create -f nothing new 1M
same_output create new -x 1M
same_output create -qx new 1M
same_output create --nothing new 1M
same_output create new -f
for s in 1.5 1Z '' ' 1' '1 G' 8E 9223372036854775808 99999999999999999999 k 1kB -- 0x 1e3; do
	same_output -n "a size of '$s'" create new "$s"
done
same_output create nodir/new 1M
same_output create -f qcow2 nodir/new 1M
same_output create / 1M
same_output create /dev/null 1M
same_output create json:{} 1M
same_output create x:y 1M
same_output create file:fnew 1M
same_output create "we'ird \"name" 1M
same_output create -f qcow2 'a,b' 1M
same_output create -f qcow2 -u -b 'a,,b c' -F raw new 1M
done_testing
