# weir's build. `make` builds build/weir; `make help` lists the rest. Every variant has its own folder under build/.
V       ?= release
ifeq ($(origin CC),default)
CC      := gcc
endif
B       := build/$(V)
DEPS    := build/deps

WARN    := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wwrite-strings -Wundef -Wvla -Wframe-larger-than=2048
BASE    := -std=gnu11 -D_GNU_SOURCE -g -fno-strict-aliasing -fno-omit-frame-pointer -Isrc -Itests -I$(DEPS)/llhttp -I$(DEPS)/yyjson -pthread -MMD -MP
VERSION := $(shell cat VERSION)
COMMIT  := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo none)

# gcc clears and copies small structs by `rep stos` and `rep movs`, which wait for the stores before them: 3 % of what a request costs. Only gcc on x86 knows these
BY_MOVES := -mmemset-strategy=unrolled_loop:256:noalign,libcall:-1:noalign -mmemcpy-strategy=unrolled_loop:256:noalign,libcall:-1:noalign
ifeq ($(V),release)
BY_MOVES := $(shell $(CC) $(BY_MOVES) -E -x c /dev/null >/dev/null 2>&1 && echo $(BY_MOVES))
endif
OPT_release := -O2 -D_FORTIFY_SOURCE=2 -fstack-protector-strong $(BY_MOVES)
OPT_debug   := -O0
OPT_asan    := -O1 -fsanitize=address,undefined,float-cast-overflow -fno-sanitize-recover=all # the last is not in gcc's undefined
OPT_tsan    := -O1 -fsanitize=thread
OPT_fuzz    := -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
OPT_clang   := -O2
OPT_ucontext := -O2 -DWEIR_TASK_UCONTEXT
OPT_prove   := -O1
# Where profiles go is built in: weir serve wipes what its environment says about it
OPT_cover   := -O1 -fprofile-instr-generate=$(CURDIR)/build/coverage/raw/%4m.profraw -fcoverage-mapping -fcoverage-mcdc
OPT     := $(OPT_$(V)) $(EXTRA)
# ASan's and TSan's own frames are larger than ours
FRAME_asan := -Wframe-larger-than=16384
FRAME_tsan := -Wframe-larger-than=16384
FRAME_fuzz := -Wframe-larger-than=16384
FRAME_cover := -Wframe-larger-than=16384
FRAME_debug := -Wframe-larger-than=4096

VFLAGS  := -DWEIR_VERSION=\"$(VERSION)\"
CFLAGS  = $(BASE) $(OPT) $(WARN) $(FRAME_$(V))
# Bound at start: a lazily bound call would leave vector registers, and what they last copied, on the stack; and its table could be written to
LDFLAGS += -Wl,-z,relro,-z,now
LDLIBS  = -lyaml -lssl -lcrypto -lcares -lsqlite3 -lhiredis -lzstd -lm
$(B)/src/cli/version.o: CFLAGS += $(VFLAGS)
$(B)/src/cli/version.o: VERSION
# Registry sources are built with warnings off: they are not ours to mend. Their headers must not warn either.
THIRD   = $(filter-out -Werror -Wall -Wextra,$(BASE)) $(OPT) -w

# The commands and the keeper are the program's; tests link all that is below them
TOPS    := $(wildcard src/cli/*.c src/keeper/*.c)
SRCS    := $(filter-out $(TOPS),$(wildcard src/*/*.c))
ASMS    := $(wildcard src/*/*.S)
OBJS    := $(SRCS:%.c=$(B)/%.o) $(ASMS:%.S=$(B)/%.o)
THIRDS  := $(B)/deps/llhttp/llhttp.o $(B)/deps/llhttp/api.o $(B)/deps/llhttp/http.o $(B)/deps/yyjson/yyjson.o
LIB     := $(B)/libweir.a

UNITS   := $(patsubst tests/unit/%.c,$(B)/tests/unit/%,$(wildcard tests/unit/test_*.c))
SIMS    := $(patsubst tests/sim/%.c,$(B)/tests/sim/%,$(wildcard tests/sim/test_*.c))
FAULTS  := $(B)/tests/fault/test_faults
STORMS  := $(patsubst tests/storm/%.c,$(B)/tests/storm/%,$(wildcard tests/storm/test_*.c))
FUZZERS := $(patsubst tests/fuzz/%.c,$(B)/tests/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZLIB := $(patsubst %.c,$(B)/%.o,$(filter-out tests/fuzz/fuzz_%.c,$(wildcard tests/fuzz/*.c)))
TESTLIB := $(patsubst tests/%.c,$(B)/tests/%.o,$(wildcard tests/lib/*.c))

.DEFAULT_GOAL := all
.PHONY: all help clean
all: build/weir ## build weir
help: ## this list
	@grep -hE '^[a-z_-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z_-]+):.*## /\1\t/' | expand -t 20

build/weir: $(B)/weir
	@cp -f $< $@.new && mv -f $@.new $@
$(B)/weir: $(TOPS:%.c=$(B)/%.o) $(LIB)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)
$(LIB): $(OBJS) $(THIRDS)
	@rm -f $@
	@ar rcs $@ $^

$(B)/deps/%.o: $(DEPS)/%.c
	@mkdir -p $(@D)
	$(CC) $(THIRD) -c -o $@ $<
$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -c -o $@ $<
$(B)/%.o: %.S
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -c -o $@ $<
# Sources of dependencies arrive by the fetching script
$(DEPS)/%.c:
	tools/fetch.sh sources

# Tests may have large frames: they run on ordinary stacks
$(B)/tests/%.o: WARN := $(filter-out -Wframe-larger-than=2048,$(WARN))
$(B)/tests/%.o: FRAME_$(V) :=
$(B)/tests/unit/%: $(B)/tests/unit/%.o $(TESTLIB) $(LIB)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lcmocka $(LDLIBS)
$(B)/tests/sim/%: $(B)/tests/sim/%.o $(TESTLIB) $(LIB)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lcmocka $(LDLIBS)
# Who may join whom is said by the test, at the linker's table
$(B)/tests/sim/test_joins: LDFLAGS += -Wl,--wrap=path_route
# Of the commands, the one that goes on asking while a server starts anew
$(B)/tests/sim/test_warm: LDLIBS := $(LIB) $(LDLIBS)
$(B)/tests/sim/test_warm: $(B)/libwarm.a
$(B)/libwarm.a: $(patsubst %,$(B)/src/cli/%.o,cache_ask cache_lines tell table)
	@rm -f $@
	@ar rcs $@ $^
# Parks are counted and cancelled at the linker's table: the shipped object is what is tested
$(B)/tests/fault/test_faults: $(patsubst tests/fault/%.c,$(B)/tests/fault/%.o,$(wildcard tests/fault/*.c)) $(TESTLIB) $(LIB)
	$(CC) $(CFLAGS) $(LDFLAGS) -Wl,--wrap=task_park -o $@ $^ $(LDLIBS)
$(B)/tests/storm/%: $(B)/tests/storm/%.o $(TESTLIB) $(LIB)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lcmocka $(LDLIBS)
$(B)/tests/fuzz/%: $(B)/tests/fuzz/%.o $(FUZZLIB) $(TESTLIB) $(LIB)
	$(CC) $(CFLAGS) -fsanitize=fuzzer $(LDFLAGS) -o $@ $^ $(LDLIBS)
$(B)/tests/agree/%: $(B)/tests/agree/%.o $(LIB)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)
$(B)/tests/flow/flow: $(patsubst tests/flow/%.c,$(B)/tests/flow/%.o,$(wildcard tests/flow/*.c)) $(TESTLIB) $(LIB)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)
$(B)/tests/speed/%: $(B)/tests/speed/%.o $(LIB)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)
.SECONDARY:

clean: ## remove what was built (dependencies and the local model stay)
	rm -rf build/weir build/release build/debug build/asan build/tsan build/fuzz build/clang build/ucontext build/prove build/cover build/coverage

-include $(shell find $(B) -name '*.d' 2>/dev/null)

.PHONY: flows figures nightly fuzz units units-ucontext sims faults storms fuzzers test tidy asan storm prove
units: $(UNITS)
units-ucontext:
	@$(MAKE) -s V=ucontext build/ucontext/tests/unit/test_run_task && build/ucontext/tests/unit/test_run_task
sims: $(SIMS)
faults: $(FAULTS)
storms: $(STORMS)
fuzzers: $(FUZZERS)
test: build/weir ## every test (tools/test.sh [STAGE...] runs some)
	tools/test.sh
asan: ## units and simulations under ASan and UBSan
	tools/test.sh units sims-asan
tidy: ## layers, names, lengths, bans, generated pages that are fresh
	tools/tidy.py
.PHONY: docs
docs: build/weir ## write the pages of docs/ that come from tables
	tools/docs.py
flows: $(B)/tests/flow/flow ## the flow files, each three times
	$< tests/flow
figures: build/weir ## measure every figure again, and write docs/performance.md and docs/promises.md
	tools/figures.py
	tools/figures.py --page
nightly: ## an hour of fuzzing, floods of 100,000 seeds, coverage: one after another, whatever the one before found
	@$(MAKE) -s -k -j1 fuzz seeds coverage
fuzz: ## an hour of fuzzing (NIGHTLY_SECONDS); writes docs/figures/fuzz.json, and new inputs into build/corpus
	@$(MAKE) -s V=fuzz CC=clang-19 fuzzers
	tools/fuzz.py $(or $(NIGHTLY_SECONDS),3600) --keep --figure
.PHONY: coverage seeds
coverage: ## which lines the tests reach: fails below 92 % of src/; writes docs/figures/coverage.json (some minutes)
	tools/coverage.sh
SEEDS_NIGHTLY ?= 100000
seeds: $(B)/tests/sim/test_gateway ## floods of 100,000 seeds (SEEDS_NIGHTLY), from the day's own first one on
	SIM_SEEDS=$(SEEDS_NIGHTLY) SIM_FIRST=$$(( ($$(date +%s) / 86400) * $(SEEDS_NIGHTLY) )) $<
.PHONY: load-test-quick load-test load-test-headless load-test-report
load-test-quick: build/weir ## ten users for half a minute, against weir with a mock behind it, or URL=…
	tools/loadtest.sh quick
load-test: build/weir ## 5 to 1000 users, with the live view (SCALE=0.1: a tenth of the time)
	tools/loadtest.sh full
load-test-headless: build/weir ## the same for machines: JSON and JUnit in build/loadtest; it fails when a criterion is missed
	tools/loadtest.sh headless
load-test-report: build/weir ## the last of these runs as a page with charts: build/loadtest/last.html
	tools/loadtest.sh report
prove: ## planted bugs: each must turn the suite red
	tools/prove.sh
storm: ## real threads under clang's TSan
	tools/test.sh storm
