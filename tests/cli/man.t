#!/bin/bash
# The manual: every command has a page, mandoc finds nothing to say, OPTIONS come from the
# tables, and the EXAMPLES work as they stand there.
. "${0%/*}/../tap.sh"

pages=$T/man
PATH=$T/bin:$PATH
mkdir "$pages"
for f in "$TOP"/man/*.1.in; do
	page=${f##*/}
	page=${page%.in}
	c=${page%.1}
	c=${c#platter}
	ok -n "$page is filled in" bash -c 'platter man $1 <"$2"' - "${c#-}" "$f"
	cp .out "$pages/$page"
done

for c in '' $(platter --help | sed -n 's/^  \([a-z]*\)  .*/\1/p'); do
	page=$pages/platter${c:+-$c}.1
	name=platter${c:+-$c}
	ok -n "$name has a page" test -s "$page" || continue

	if [ -n "$c" ]; then
		missing=
		for o in $(platter "$c" --help | grep -o -e ' --[a-z-]*' | sort -u); do
			grep -q -e "^\.It.* Fl .*${o#--}" "$page" || missing+=" $o"
		done
		is "$missing" '' "$name: no option is missing"
	fi

	mkdir "$T/$name" && cd "$T/$name" || exit 1
	sed -n '/^\.Sh EXAMPLES/,/^\.Sh SEE/s/^\$ //p' "$page" | sed 's/\\e/\\/g; s/\\-/-/g' >run
	ok -n "$name: there are examples" test -s run
	while read -r line; do
		ok -n "$name: $line" bash -c "$line"
	done <run
	cd "$T" || exit 1
done

if command -v mandoc >/dev/null; then
	for page in "$pages"/*.1; do
		ok -n "mandoc has nothing to say of ${page##*/}" mandoc -T lint -W warning "$page"
	done
else
	skip 1 'no mandoc'
fi

# Every page that another one names is there.
sed -n 's/^\.Xr \(platter[a-z-]*\) .*/\1/p' "$pages"/*.1 | sort -u >named
while read -r x; do
	ok -n "there is a page $x" test -s "$pages/$x.1"
done <named

# The filter itself.
page() { printf '%s\n' "$@" | platter man info; }
run page '.\" a comment' '.\" OPTIONSX' plain
is "$out" '.\" a comment
.\" OPTIONSX
plain' 'other lines stay'
exits 1 -n 'an unknown command' platter man nothing
run page '.\" KEYS nothing'
is "$rc" 1 'an unknown format'
exits 1 -n 'not a command of qemu-img' qimg man info
done_testing
