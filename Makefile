# Platter. One file, not recursive. `make help` lists the targets.
VERSION := 0.1

PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
DATADIR ?= $(PREFIX)/share
BUILD ?= build
CFLAGS ?= -O2 -g
PKG_CONFIG ?= pkg-config
INSTALL ?= install
CLANG ?= clang
JOBS ?= $(shell nproc)
V ?= 0

Q := $(if $(filter 1,$(V)),,@)
say = $(if $(Q),@echo "  $(1)")

# A library is a word here and a HAVE_NAME in the code, where pkg-config finds it.
required := zlib nettle json-c
optional := libdeflate libzstd bzip2 liblzma

# What `make deps` installs on Debian 12: to build, to test, and (deps-dev) for the rest.
deb_build := gcc make pkg-config libc6-dev zlib1g-dev nettle-dev libjson-c-dev \
	libdeflate-dev libzstd-dev libbz2-dev liblzma-dev
deb_test := libcmocka-dev perl python3 qemu-utils e2fsprogs dosfstools mtools mount \
	xfsprogs btrfs-progs libnbd-bin zsh fish p7zip-full dmg2img libvhdi-utils libvmdk-utils cryptsetup-bin openssl xxd
deb_dev := git clang libclang-rt-dev clang-format valgrind cppcheck shellcheck mandoc time

# Sources, found by where they are.
lib_src := $(sort $(wildcard lib/*.c lib/*/*.c lib/*/*/*.c crypto/*.c formats/*.c formats/*/*.c nbd/*.c))
cmd_src := $(sort $(filter-out cmd/main.c,$(wildcard cmd/*.c)))
test_src := $(sort $(wildcard tests/*/test_*.c tests/*/*/test_*.c tests/*/*/*/test_*.c))
test_kit := $(sort $(filter-out $(test_src),$(wildcard tests/lib/*.c)))
fuzz_src := $(sort $(wildcard tests/fuzz/fuzz_*.c))
sh_tests := $(sort $(wildcard tests/cli/*.t tests/interop/*.t))
page_src := $(sort $(wildcard man/*.1.in))
shells := bash zsh fish

lib_obj := $(lib_src:%.c=$(BUILD)/%.o)
cmd_obj := $(cmd_src:%.c=$(BUILD)/%.o)
test_bin := $(test_src:%.c=$(BUILD)/%)
cli_bin := $(BUILD)/tests/cli/nomem $(BUILD)/tests/cli/suicide
fuzz_bin := $(fuzz_src:%.c=$(BUILD)/%)
pages := $(page_src:%.in=$(BUILD)/%)
completions := $(shells:%=$(BUILD)/completion/%)
kit_obj := $(test_kit:%.c=$(BUILD)/%.o)
obj := $(lib_obj) $(cmd_obj) $(kit_obj) $(BUILD)/cmd/main.o $(cli_bin:=.o) $(test_bin:=.o) $(fuzz_bin:=.o)

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wundef \
	-Wpointer-arith -Wwrite-strings -Wformat=2 -Wno-unused-parameter \
	-Wno-missing-field-initializers -Werror=implicit
all_cflags = -std=gnu17 -pthread $(WARN) $(CFLAGS)

# The rest of this part asks the machine; targets that build nothing need no answer.
lazy := help deps deps-build deps-dev clean dist uninstall
ifneq ($(filter-out $(lazy),$(or $(MAKECMDGOALS),all)),)

probe := $(shell for p in $(required) $(optional); do $(PKG_CONFIG) --exists $$p 2>/dev/null && \
	echo $$p -DHAVE_$$(echo $$p | tr a-z- A-Z_); done)
# On Debian 12 pkg-config knows nothing of bzip2: a program that links tells.
ifneq ($(filter bzip2,$(filter-out $(probe),$(optional))),)
bzip2_at := $(BUILD)/bzip2.$(shell echo $$$$)
bzip2_libs := $(shell mkdir -p $(BUILD); echo 'int main(void) { return !BZ2_bzlibVersion(); }' | \
	$(CC) $(CPPFLAGS) $(CFLAGS) $(if $(STATIC),-static) $(LDFLAGS) -include bzlib.h -x c - \
		-o $(bzip2_at) -lbz2 2>/dev/null && echo -lbz2; rm -f $(bzip2_at))
probe += $(if $(bzip2_libs),bzip2 -DHAVE_BZIP2)
endif
have := $(filter-out -D%,$(probe))
missing := $(filter-out $(have),$(required))
ifneq ($(missing),)
$(error $(missing) not found by $(PKG_CONFIG): `make deps` installs what is needed on Debian)
endif
found := $(filter $(have),$(optional))
absent := $(filter-out $(have),$(optional))

known := $(if $(bzip2_libs),$(filter-out bzip2,$(found)),$(found))
pc := $(PKG_CONFIG) $(if $(STATIC),--static)
all_cppflags := -I. -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DPLATTER_VERSION='"$(VERSION)"' \
	$(filter -D%,$(probe)) $(shell $(pc) --cflags $(required) $(known)) \
	$(CPPFLAGS)
all_ldflags := $(if $(STATIC),-static) $(LDFLAGS)
LIBS := $(shell $(pc) --libs $(required) $(known)) $(bzip2_libs) -pthread

# What all objects depend on: a change of the compiler, flags or libraries rebuilds.
flags := $(strip $(CC) $(all_cppflags) $(all_cflags) $(all_ldflags) $(LIBS))
ifneq ($(flags),$(strip $(file <$(BUILD)/flags)))
$(shell mkdir -p $(BUILD))
$(file >$(BUILD)/flags,$(flags))
$(info optional libraries: $(or $(found),none)$(if $(absent), (not found: $(absent))))
endif
# And archives on the list of their members, for one that went away.
ifneq ($(strip $(lib_src) $(cmd_src) $(test_kit)),$(strip $(file <$(BUILD)/members)))
$(file >$(BUILD)/members,$(lib_src) $(cmd_src) $(test_kit))
endif

endif

all: $(BUILD)/platter ## the program: build/platter

$(BUILD)/libplatter.a: $(lib_obj) $(BUILD)/members
	$(Q)rm -f $@; $(AR) rcs $@ $(lib_obj)

$(BUILD)/libcmd.a: $(cmd_obj) $(BUILD)/members
	$(Q)rm -f $@; $(AR) rcs $@ $(cmd_obj)

$(BUILD)/libkit.a: $(kit_obj) $(BUILD)/members
	$(Q)rm -f $@; $(AR) rcs $@ $(kit_obj)

$(BUILD)/platter: $(BUILD)/cmd/main.o $(BUILD)/libcmd.a $(BUILD)/libplatter.a
	$(call say,LD $@)
	$(Q)$(CC) $(all_cflags) $(all_ldflags) -o $@ $^ $(LIBS)

$(BUILD)/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC $<)
	$(Q)$(CC) $(all_cppflags) $(all_cflags) -MMD -MP -c -o $@ $<

$(BUILD)/tests/fuzz/%: $(BUILD)/tests/fuzz/%.o $(BUILD)/libcmd.a $(BUILD)/libplatter.a
	$(call say,LD $@)
	$(Q)$(CC) $(all_cflags) $(all_ldflags) -fsanitize=fuzzer -o $@ $^ $(LIBS)

$(BUILD)/tests/%: $(BUILD)/tests/%.o $(BUILD)/libkit.a $(BUILD)/libcmd.a $(BUILD)/libplatter.a
	$(call say,LD $@)
	$(Q)$(CC) $(all_cflags) $(all_ldflags) -o $@ $^ $(LIBS) -lcmocka

# The program with each function that takes memory replaced by one that can fail.
wrapped := malloc calloc realloc reallocarray aligned_alloc posix_memalign strdup strndup \
	asprintf open_memstream json_tokener_new_ex json_object_object_add \
	json_object_array_add $(addprefix json_object_new_,object array string int64 boolean)
$(BUILD)/tests/cli/nomem: $(BUILD)/tests/cli/nomem.o $(BUILD)/cmd/main.o $(BUILD)/libcmd.a \
		$(BUILD)/libplatter.a
	$(call say,LD $@)
	$(Q)$(CC) $(all_cflags) $(all_ldflags) $(wrapped:%=-Wl,--wrap=%) -o $@ $^ $(LIBS)

# The program that a kill -9 ends before any of its calls that change a file.
changing := pwrite64 ftruncate64 fallocate64 posix_fallocate64 copy_file_range fdatasync fsync
$(BUILD)/tests/cli/suicide: $(BUILD)/tests/cli/suicide.o $(BUILD)/cmd/main.o $(BUILD)/libcmd.a \
		$(BUILD)/libplatter.a
	$(call say,LD $@)
	$(Q)$(CC) $(all_cflags) $(all_ldflags) $(changing:%=-Wl,--wrap=%) -o $@ $^ $(LIBS)

# Manual pages and completion scripts: what the option tables know comes from them.
$(BUILD)/man/platter.1: man/platter.1.in $(BUILD)/platter
	@mkdir -p $(@D)
	$(call say,MAN $@)
	$(Q)$(BUILD)/platter man <$< >$@

$(BUILD)/man/platter-%.1: man/platter-%.1.in $(BUILD)/platter
	@mkdir -p $(@D)
	$(call say,MAN $@)
	$(Q)$(BUILD)/platter man $* <$< >$@

$(completions): $(BUILD)/completion/%: $(BUILD)/platter
	@mkdir -p $(@D)
	$(Q)$(BUILD)/platter completion $* >$@

docs: $(pages) $(completions) ## manual pages and completion scripts, in build/

# Tests. `make check T=tests/cli/info.t` runs one; a unit is T=build/tests/lib/test_pool.
T ?= $(test_bin) $(sh_tests)

check: $(BUILD)/platter $(test_bin) $(cli_bin) ## units, then the shell tests, in parallel
	$(Q)BUILD=$(BUILD) JOBS=$(JOBS) V=$(V) tests/run $(T)

san_flags = CFLAGS="-O1 -g -fno-omit-frame-pointer -fsanitize=$(1)" LDFLAGS="-fsanitize=$(1)"

# With both, gcc's UBSan cannot report to a file: it traps, and ASan reports the trap.
check-asan: ## the same with AddressSanitizer and UBSan, in build-asan
	+$(Q)$(MAKE) --no-print-directory check BUILD=build-asan SANITIZED=asan \
		$(call san_flags,address$(comma)undefined -fsanitize-undefined-trap-on-error)

check-ubsan: ## the same with UBSan alone
	+$(Q)$(MAKE) --no-print-directory check BUILD=build-ubsan SANITIZED=ubsan \
		$(call san_flags,undefined)

# ThreadSanitizer is slow: what has threads in it, and not what replays one thread's writes.
tsan_not := crash resize amend repair backing journal fat
tsan_src := $(filter-out $(foreach t,$(tsan_not),%/test_$(t).c),$(test_src))
tsan_sh := $(wildcard tests/cli/convert*.t tests/interop/convert*.t tests/interop/compare*.t)
check-tsan: ## ThreadSanitizer on the threaded parts, in build-tsan
	+$(Q)$(MAKE) --no-print-directory check BUILD=build-tsan SANITIZED=tsan \
		$(call san_flags,thread) T="$(tsan_src:%.c=build-tsan/%) $(tsan_sh)"

valgrind: $(test_bin) ## the units under valgrind
	$(Q)for t in $(test_bin); do echo "  VALGRIND $$t"; \
		valgrind -q --error-exitcode=99 --leak-check=full $$t >$(BUILD)/valgrind.log 2>&1 || \
		{ cat $(BUILD)/valgrind.log; exit 1; }; done

# The fuzz targets share FUZZ_SECONDS. A finding stays in build-fuzz/.
FUZZ_SECONDS ?= 60
fuzz: ## libFuzzer on the parsers: FUZZ_SECONDS=60 in all
	+$(Q)$(MAKE) --no-print-directory fuzz-run BUILD=build-fuzz CC=$(CLANG) \
		CFLAGS="-O1 -g -fsanitize=fuzzer-no-link,address,undefined" \
		LDFLAGS="-fsanitize=address,undefined"

fuzz-run: $(fuzz_bin)
	$(Q)BUILD=$(BUILD) tests/fuzz/run $(FUZZ_SECONDS) $(fuzz_bin)

lint: docs ## layers, banned words, format, cppcheck, shellcheck, manual pages
	$(Q)BUILD=$(BUILD) tests/lint/run

bench: all ## times against the installed qemu-img
	$(Q)PLATTER=$(BUILD)/platter tests/bench/run

demo: all ## the main job on a disk made here, step by step
	$(Q)PLATTER=$(BUILD)/platter tests/demo

static: ## one static binary: build-static/platter
	+$(Q)$(MAKE) --no-print-directory all BUILD=build-static STATIC=1

# Where the shells look, in the order of $(shells).
completion_dest := bash-completion/completions/platter zsh/site-functions/_platter \
	fish/vendor_completions.d/platter.fish

install: all docs ## DESTDIR= PREFIX=/usr/local; LINKS=1: also as qemu-img
	$(INSTALL) -D -m 755 $(BUILD)/platter $(DESTDIR)$(BINDIR)/platter
	$(if $(LINKS),ln -sf platter $(DESTDIR)$(BINDIR)/qemu-img)
	$(if $(pages),$(INSTALL) -d $(DESTDIR)$(DATADIR)/man/man1)
	$(if $(pages),$(INSTALL) -m 644 $(pages) $(DESTDIR)$(DATADIR)/man/man1)
	$(Q)set -e; set -- $(completion_dest); for s in $(shells); do \
		$(INSTALL) -D -m 644 $(BUILD)/completion/$$s $(DESTDIR)$(DATADIR)/$$1; shift; done

uninstall: ## what install put there
	rm -f $(DESTDIR)$(BINDIR)/platter $(addprefix $(DESTDIR)$(DATADIR)/,$(completion_dest))
	rm -f $(addprefix $(DESTDIR)$(DATADIR)/man/man1/,$(notdir $(pages)))
	if [ "$$(readlink $(DESTDIR)$(BINDIR)/qemu-img)" = platter ]; then \
		rm $(DESTDIR)$(BINDIR)/qemu-img; fi

dist: ## platter-$(VERSION).tar.gz of what is committed
	git archive --prefix=platter-$(VERSION)/ HEAD | gzip -9n >platter-$(VERSION).tar.gz

sudo := $(if $(filter-out 0,$(shell id -u)),sudo)
apt_get = set -e; need=; for p in $(1); do \
		dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q ' installed$$' || need="$$need $$p"; \
	done; \
	[ -n "$$need" ] || { echo "deps: nothing to install"; exit 0; }; \
	$(sudo) apt-get update -q; \
	$(sudo) env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $$need
deps: ## installs what building and testing need (Debian 12)
	$(Q)$(call apt_get,$(deb_build) $(deb_test))

deps-build: ## only what building needs
	$(Q)$(call apt_get,$(deb_build))

deps-dev: ## also what sanitizers, fuzz and lint need
	$(Q)$(call apt_get,$(deb_build) $(deb_test) $(deb_dev))

clean: ## removes all builds
	rm -rf build build-asan build-ubsan build-tsan build-fuzz build-static platter-*.tar.gz

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1	\2/p' Makefile | expand -t 16
	@echo "Variables: CC CFLAGS LDFLAGS PREFIX DESTDIR BUILD JOBS V=1 T=TEST FUZZ_SECONDS LINKS=1"

comma := ,
.PHONY: all check check-asan check-ubsan check-tsan valgrind fuzz fuzz-run lint bench demo docs \
	static install uninstall dist deps deps-build deps-dev clean help
.SECONDARY:
.DELETE_ON_ERROR:
-include $(obj:.o=.d)
