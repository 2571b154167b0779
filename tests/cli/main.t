#!/bin/bash
# Dispatch by name and word, standard options, what both names print.
. "${0%/*}/../tap.sh"

# our own name
exits 0 platter --version
like "$out" '^platter [0-9]' 'the version'
like "$out" 'Deflate by (libdeflate|zlib)' 'and what is built in'
exits 0 platter -V
exits 0 platter --help
like "$out" 'Usage: platter COMMAND' 'the overview'
[ "$(wc -l <<<"$out")" -le 24 ] && [ "$(wc -L <<<"$out")" -le 80 ]
is $? 0 'it fits a screen'
long=$out
exits 0 platter -h
is "$out" "$long" '-h is --help'
exits 0 platter help
is "$out" "$long" 'and so is help'
exits 1 platter
like "$err" '^platter: Not enough arguments' 'no command'
exits 1 platter crate
like "$err" "^platter: Command not found: crate; did you mean 'create'\?" 'a command is suggested'
exits 1 platter conv
like "$err" "did you mean 'convert'" 'by its beginning, too'
exits 1 platter xyzzy
unlike "$err" 'did you mean' 'but not anything'
exits 1 platter info --fromat raw x
like "$err" "unrecognized option '--fromat'; did you mean '--format'\?" 'an option is suggested'
like "$err" "Try 'platter info --help'" 'and where to look'
exits 1 platter create -f qcow3 x 1M
like "$err" "Unknown file format 'qcow3'
platter: did you mean 'qcow2'\?" 'a format is suggested'
exits 1 platter create -f img x 1M
like "$err" "did you mean 'raw'" 'by what others call it, too'
exits 1 platter create -f raw -o preallocatoin=full x 1M
like "$err" "Invalid parameter 'preallocatoin'
did you mean 'preallocation'\?" 'a key of a format is suggested'
for c in $("$PLATTER" --help | sed -n 's/^  \([a-z]*\)  .*/\1/p'); do
	exits 0 platter "$c" --help
	like "$out" "Usage: platter $c" "$c --help"
	one=$out
	exits 0 platter "$c" -h
	exits 0 platter help "$c"
	is "$out" "$one" "help $c"
	[ "$(wc -L <<<"$out")" -le 80 ]
	is $? 0 "help $c is not wide"
done
exits 1 platter help nothing

# as qemu-img
exits 0 qimg --version
[[ $out =~ qemu-img\ version\ ([0-9.]*) ]]
is "${BASH_REMATCH[1]}" 7.2.22 'what Cinder takes for the version'
exits 0 qimg --help
like "$out" 'info .*-U' 'what libguestfs looks for'
like "$out" $'\n''Supported formats:.* qcow2.* raw' 'what libvirt looks for'
unlike "$out" 'completion' 'what is ours is not shown'
exits 0 qimg info --help
like "$out" '--force-share' "a command's help"
unlike "$(qimg convert --help)" 'trust-compressed' 'without options of ours'
exits 1 qimg help
is "$err" "qemu-img: Command not found: help
Try 'qemu-img --help' for more information" 'commands of ours are unknown'
exits 1 qimg crate
unlike "$err" 'did you mean' 'nothing is suggested'
ln -s "$PLATTER" "$T/bin/qemu-img-7"
exits 0 "$T/bin/qemu-img-7" --version
like "$out" '^platter' 'another name is not qemu-img'

# standard options
exits 0 qimg -T help
truncate -s 1M disk
exits 0 qimg -T foo info disk
is "$err" "qemu-img: warning: trace event 'foo' does not exist" 'there are no trace events'
exits 1 qimg -T
exits 0 qimg --trace=foo info disk
exits 1 qimg info -T foo disk
exits 0 qimg -- info disk

# where output goes
exits 1 -n 'a full disk is a failure' sh -c '"$0" info "$1" >/dev/full' "$PLATTER" disk
like "$err" 'cannot write to standard output' 'and says so'
ok -n 'a reader that leaves is none' \
	bash -o pipefail -c '"$0" help | true; [ ${PIPESTATUS[0]} -le 1 ]' "$PLATTER"
is "$err" '' 'nothing is said'
done_testing
