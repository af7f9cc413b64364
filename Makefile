# nigh: make run | make test; `make help` lists the rest.

BUILD     ?= build
MODE      ?=
VERSION   := 0.1.0
COMMIT    := $(shell git rev-parse HEAD 2>/dev/null || echo 0000000000000000000000000000000000000000)

# ---- Compiler ---------------------------------------------------------------------------------

WARNINGS  = -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes \
            -Wmissing-prototypes -Wvla -Werror
HARDENING = -fstack-protector-strong -fPIE -fstack-clash-protection
FORTIFY   = -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3
CPPFLAGS  = -I. -D_GNU_SOURCE -MMD -MP -DNIGH_VERSION='"$(VERSION)"'
OPTIMISE  = -O2 -fno-math-errno
CFLAGS    = -std=c11 -g $(OPTIMISE) $(WARNINGS) $(HARDENING) $(SANITIZE)
LDFLAGS   = -pie -Wl,-z,relro,-z,now $(SANITIZE)

# clang before 16 wants a second flag to allow this one.
ZERO_INIT := $(shell echo 'int x;' | $(CC) -Werror -ftrivial-auto-var-init=zero -xc -c - \
               -o /dev/null 2>/dev/null && echo -ftrivial-auto-var-init=zero)
HARDENING += $(ZERO_INIT)

# Control-flow enforcement exists on x86 only.
ifneq (,$(findstring x86_64,$(shell $(CC) -dumpmachine 2>/dev/null)))
HARDENING += -fcf-protection
ARCH      := x86
endif

# Kernels of other machines are left out.
AVX2      = $(wildcard index/kernels_avx2*.c)
AVX512    = $(wildcard index/kernels_avx512*.c)
FOREIGN   = $(if $(filter x86,$(ARCH)),index/kernels_neon.c,$(AVX2) $(AVX512))

# Sanitizers do their own checking of what FORTIFY wraps, and slow code at -O2 hides reports.
ifeq ($(MODE),)
CPPFLAGS += $(FORTIFY)
else ifeq ($(MODE),asan)
SANITIZE = -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
OPTIMISE = -O1 -fno-math-errno
else ifeq ($(MODE),tsan)
SANITIZE = -fsanitize=thread
OPTIMISE = -O1 -fno-math-errno
else ifeq ($(MODE),coverage)
SANITIZE = --coverage -fprofile-update=atomic
OPTIMISE = -O0
else ifeq ($(MODE),fuzz)
SANITIZE = -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
OPTIMISE = -O1 -fno-math-errno
else ifeq ($(MODE),fault)
CPPFLAGS += -DNIGH_FAULTS=1
endif
OUT = $(BUILD)$(addprefix -,$(MODE))

# ---- Sources ----------------------------------------------------------------------------------

LAYERS    = index storage api server
SOURCES   = $(filter-out $(FOREIGN),$(wildcard $(LAYERS:%=%/*.c)))
HEADERS   = $(wildcard $(LAYERS:%=%/*.h))
OBJECTS   = $(SOURCES:%.c=$(OUT)/%.o)
TESTS     = $(wildcard tests/index/test_*.c tests/storage/test_*.c tests/api/test_*.c tests/server/test_*.c)
SUPPORT   = $(filter-out tests/support/preload_%,$(wildcard tests/support/*.c))
PROGRAMS  = $(TESTS:%.c=$(OUT)/%)
OWN_C     = $(SOURCES) $(HEADERS) $(wildcard tests/*/*.c tests/*/*.h bench/*.c bench/*.h)

objects   = $(patsubst %.c,$(OUT)/%.o,$(filter-out $(FOREIGN),$(wildcard $(1)/*.c)))
library   = $(OUT)/lib$(1).a

# ---- Libraries: packages of the system, nothing vendored --------------------------------------

INDEX_LIBS   = -lxxhash -lm -lpthread
STORAGE_LIBS = -llmdb $(INDEX_LIBS)
API_LIBS     = $(STORAGE_LIBS)
SERVER_LIBS  = -luv -lyaml -lcrypto $(API_LIBS)
CHECK_LIBS   = -lcheck -lsubunit -lrt -lcjson

# llhttp: the library where a package offers it (9.x); else the C sources that node-llhttp ships
# (8.1), which are loose unless compiled in strict mode.
ifeq (,$(LLHTTP))
LLHTTP := $(if $(wildcard /usr/include/llhttp.h),library,sources)
endif
ifeq ($(LLHTTP),library)
SERVER_LIBS += -lllhttp
else
LLHTTP_DIR   = /usr/share/llhttp
CPPFLAGS    += -I/usr/share/include/llhttp -DLLHTTP_STRICT_MODE=1
LLHTTP_OBJECTS = $(addprefix $(OUT)/llhttp/,api.o http.o llhttp.o)
endif

# ---- Building ---------------------------------------------------------------------------------

# One short line a step; V=1 shows the commands.
ifeq ($(V),1)
say = @:
run =
else
say = @printf '  %-5s %s\n'
run = @
endif

all: $(OUT)/nigh ## build the server, build/nigh

$(OUT)/%.o: %.c
	@mkdir -p $(@D)
	$(say) CC $@
	$(run)$(CC) $(CPPFLAGS) $(CFLAGS) -c $< -o $@

$(OUT)/llhttp/%.o: $(LLHTTP_DIR)/%.c
	@mkdir -p $(@D)
	$(say) CC $@
	$(run)$(CC) -I/usr/share/include/llhttp -DLLHTTP_STRICT_MODE=1 -std=c11 -O2 -g $(HARDENING) $(SANITIZE) -c $< -o $@

# One instruction set a file: nothing else may use these instructions.
ifeq ($(ARCH),x86)
$(foreach folder,$(OUT) $(OUT)/pic,$(AVX2:%.c=$(folder)/%.o)): CFLAGS += -mavx2 -mfma -mf16c -mbmi2 -O3
$(foreach folder,$(OUT) $(OUT)/pic,$(AVX512:%.c=$(folder)/%.o)): CFLAGS += -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mavx512vbmi -mfma -mf16c -mbmi2 -O3
endif
# Loops over batches of rows and over text, in the base instruction set.
$(foreach file,codes code_row kernels_scalar_text flat hits cells,$(OUT)/index/$(file).o $(OUT)/pic/index/$(file).o): CFLAGS += -O3
$(OUT)/server/main.o: CPPFLAGS += -DNIGH_COMMIT='"$(COMMIT)"'
# The program knows its commit: it is compiled again when that changes, and only then.
$(OUT)/server/main.o: $(OUT)/commit
$(OUT)/commit: always
	@mkdir -p $(@D)
	@echo '$(COMMIT)' | cmp -s - $@ || echo '$(COMMIT)' > $@

# The index as a shared library, with what bench/*_lib.c adds, for bench/*_bench.py.
$(OUT)/pic/%.o: %.c
	@mkdir -p $(@D)
	$(say) CC $@
	$(run)$(CC) $(CPPFLAGS) $(CFLAGS) -fPIC -c $< -o $@

$(OUT)/libnigh_index.so: $(patsubst $(OUT)/%,$(OUT)/pic/%,$(call objects,index)) $(patsubst %.c,$(OUT)/pic/%.o,$(wildcard bench/*_lib.c))
	$(say) LINK $@
	$(run)$(CC) -shared -Wl,-z,relro,-z,now $(SANITIZE) $^ $(INDEX_LIBS) -o $@

$(OUT)/libindex.a: $(call objects,index)
$(OUT)/libstorage.a: $(call objects,storage)
$(OUT)/libapi.a: $(call objects,api)
$(OUT)/libserver.a: $(filter-out %/main.o,$(call objects,server)) $(LLHTTP_OBJECTS)
$(OUT)/lib%.a:
	@mkdir -p $(@D)
	@rm -f $@
	$(say) AR $@
	$(run)$(AR) rcs $@ $^

$(OUT)/nigh: $(OUT)/server/main.o $(call library,server) $(call library,api) $(call library,storage) $(call library,index)
	$(say) LINK $@
	$(run)$(CC) $(LDFLAGS) $^ $(SERVER_LIBS) -o $@

# A test links with its own layer and those below: an upward call does not link.
$(OUT)/tests/index/%: LINKED = $(foreach l,index,$(call library,$(l)))
$(OUT)/tests/storage/%: LINKED = $(foreach l,storage index,$(call library,$(l)))
$(OUT)/tests/api/%: LINKED = $(foreach l,api storage index,$(call library,$(l)))
$(OUT)/tests/server/%: LINKED = $(foreach l,server api storage index,$(call library,$(l)))

$(filter $(OUT)/tests/index/%,$(PROGRAMS)): $(call library,index)
$(filter $(OUT)/tests/storage/%,$(PROGRAMS)): $(call library,storage) $(call library,index)
$(filter $(OUT)/tests/api/%,$(PROGRAMS)): $(call library,api) $(call library,storage) $(call library,index)
$(filter $(OUT)/tests/server/%,$(PROGRAMS)): $(call library,server) $(call library,api) $(call library,storage) $(call library,index)

$(PROGRAMS): %: %.o $(SUPPORT:%.c=$(OUT)/%.o)
	$(say) LINK $@
	$(run)$(CC) $(LDFLAGS) $(filter %.o,$^) $(LINKED) $(CHECK_LIBS) $(SERVER_LIBS) -o $@

-include Makefile.tasks
-include $(shell find $(OUT) -name '*.d' 2>/dev/null)

.PHONY: all always
.SECONDARY:
