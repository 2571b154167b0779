#!/bin/bash
# The source lint finds what it is there for, and nothing in code that obeys.
. "${0%/*}/../tap.sh"
lint=$TOP/tests/lint/source
mkdir -p cmd formats/one formats/two crypto lib nbd tests/lib
touch cmd/a.h formats/a.h formats/two/p.h nbd/a.h crypto/a.h lib/a.h

# breach FILE LINE WANT: a file with this one line
breach() {
	printf '%s\n' "$2" >"$1"
	exits 1 -n "$1: $2" "$lint" "$1"
	like "$out" "^$1:1: .*$3" "says why: $3"
}
fine() {
	printf '%s\n' "$2" >"$1"
	ok -n "$1: $2" "$lint" "$1"
}

breach lib/x.c '#include "cmd/a.h"' 'lib may not include cmd'
breach lib/x.c '#include "crypto/a.h"' 'lib may not include crypto'
breach formats/x.c '#include "nbd/a.h"' 'formats may not include nbd'
breach nbd/x.c '#include "formats/a.h"' 'nbd may not include formats'
breach crypto/x.c '#include "formats/a.h"' 'crypto may not include formats'
breach lib/x.c '#include "a.h"' 'from the root'
breach formats/one/x.c '#include "formats/two/p.h"' 'private'
breach cmd/x.c '#include <json.h>' 'does not belong'
breach lib/x.c '#include <nettle/aes.h>' 'does not belong'
breach cmd/x.c 'int f(void) { return system("ls"); }' 'system is banned'
breach lib/x.c 'void f(char *d) { strcpy(d, "x"); }' 'strcpy is banned'
breach lib/x.c 'void f(void) { exit(1); }' 'only cmd/'
breach formats/x.c 'void f(void) { fputs("x", stderr); }' 'only cmd/'
breach formats/x.c 'int f(void) { return open("x", 0); }' 'opens no files'
breach lib/x.c '/* TODO: later */' 'TODO'
breach lib/x.c 'typedef struct s t;' 'typedef'

fine cmd/x.c '#include "formats/a.h"'
fine lib/json.c '#include <json.h>'
fine crypto/x.c '#include <nettle/aes.h>'
fine tests/lib/x.c '#include "cmd/a.h"'
fine cmd/x.c 'void f(void) { exit(1); }'
fine lib/x.c '/* strcpy(a, b) and exit(1) in words */'
fine lib/x.c 'const char *s = "exit(1) \" sprintf(";'
fine formats/x.c 'int f(struct blk *b) { return b->open(b) + raw_open(b); }'
done_testing
