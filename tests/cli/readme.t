#!/bin/bash
# What README tells its reader to type works as it stands.
. "${0%/*}/../tap.sh"
PATH=$T/bin:$PATH
yes platter | head -c 3M >disk.raw
mkdir folder
echo text >folder/file
truncate -s 64M disk.raw
platter create -q -f qcow2 base.qcow2 64M

examples() { sed -n 's/^    \(platter [a-z].*\)/\1/p' "$TOP/README" | sed 's/   .*//'; }
n=0
while read -r line; do
	ok -n "$line" bash -e -c "$line"
	n=$((n + 1))
done < <(examples)
ok -n "$n examples" test "$n" -ge 5

ok -n '. <(platter completion bash)' bash -e -c '. <(platter completion bash); complete -p platter'
for target in deps demo check install static help; do
	like "$(<"$TOP/README")" "make ($target|[a-z]* $target)" "README names make $target"
	like "$(<"$TOP/Makefile")" $'\n'"$target:" 'which is there'
done
done_testing
