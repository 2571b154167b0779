# Platter. One file, not recursive. `make help` lists the targets.
PREFIX ?= /usr/local
CC ?= cc
CFLAGS ?= -O2 -g
BUILD ?= build
V ?= 0

Q := $(if $(filter 1,$(V)),,@)
PKG_CONFIG ?= pkg-config

required := zlib nettle json-c
optional := libdeflate libzstd
found := $(foreach p,$(optional),$(shell $(PKG_CONFIG) --exists $(p) && echo $(p)))
have = -DHAVE_$(shell echo $(1) | tr a-z- A-Z_)

CPPFLAGS += -I. -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 $(foreach p,$(found),$(call have,$(p)))
CPPFLAGS += $(shell $(PKG_CONFIG) --cflags $(required) $(found))
LIBS := $(shell $(PKG_CONFIG) --libs $(required) $(found)) -pthread
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wundef \
	-Wpointer-arith -Wwrite-strings -Wformat=2 -Wno-unused-parameter -Wno-missing-field-initializers \
	-Werror=implicit
ALL_CFLAGS = -std=gnu17 -pthread $(WARN) $(CFLAGS)

lib_src := $(wildcard lib/*.c lib/*/*.c crypto/*.c formats/*.c formats/*/*.c nbd/*.c)
cmd_src := $(filter-out cmd/main.c,$(wildcard cmd/*.c))
test_src := $(wildcard tests/lib/test_*.c tests/lib/*/test_*.c tests/formats/test_*.c \
	tests/formats/*/test_*.c tests/cmd/test_*.c)

lib_obj := $(lib_src:%.c=$(BUILD)/%.o)
cmd_obj := $(cmd_src:%.c=$(BUILD)/%.o)
test_bin := $(test_src:%.c=$(BUILD)/%)

all: $(BUILD)/platter

$(BUILD)/libplatter.a: $(lib_obj)
	$(Q)rm -f $@; $(AR) rcs $@ $^

$(BUILD)/libcmd.a: $(cmd_obj)
	$(Q)rm -f $@; $(AR) rcs $@ $^

$(BUILD)/platter: $(BUILD)/cmd/main.o $(BUILD)/libcmd.a $(BUILD)/libplatter.a
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(if $(Q),@echo "  CC $<")
	$(Q)$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/tests/%: $(BUILD)/tests/%.o $(BUILD)/libcmd.a $(BUILD)/libplatter.a
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS) -lcmocka

unit: $(test_bin)
	@set -e; for t in $(test_bin); do $$t; done

clean:
	rm -rf build

.PHONY: all unit clean
.SECONDARY:
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
