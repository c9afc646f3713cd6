#!/bin/bash
# coverage.sh [SUITE...]: which lines of src/ the tests reach, measured by clang: units, sims, faults, flows, clients and hostile, or those named.
# `make coverage` calls it; build/coverage holds the pages. All suites together write docs/figures/coverage.json and fail below what figures.py asks for.
# A process that is killed leaves no profile: what runs only between a fork and an exec, or on the way into abort(), counts as not reached.
set -u
cd "$(dirname "$0")/.." || exit 1
all="units sims faults flows clients hostile"
suites=${*:-$all}
suite_s=300 # no program needs a third of it
b=build/cover
log=build/coverage/log
unset LLVM_PROFILE_FILE # the Makefile has put it into the programs
export SIM_SEEDS=${COVERAGE_SEEDS:-300} WEIR_SEEDS=20 WEIR_LOCAL=$PWD/build/local PYTHONDONTWRITEBYTECODE=1
rm -rf build/coverage && mkdir -p build/coverage/raw || exit 1

failed=0
built() { make -s -j"$(nproc)" V=cover CC=clang-19 "$@" >> $log 2>&1; } # clang warns of conditions that MC/DC cannot follow
run() {
    timeout --kill-after=10 $suite_s "$@" >> $log 2>&1 </dev/null || { echo "coverage: $* fails; see $log"; failed=1; }
}
each() {
    local t
    for t in "$1"/test_*; do
        if [ -x "$t" ] && [[ $t != *.* ]]; then run "$t"; fi
    done
}
units()   { built units && each $b/tests/unit; }
sims()    { built sims && each $b/tests/sim; }
faults()  { built faults && run $b/tests/fault/test_faults; }
flows()   { built $b/tests/flow/flow && run $b/tests/flow/flow tests/flow; }
clients() {
    local t
    built $b/weir || return 1
    [ -x build/local/llama-server ] || tools/local-model.sh >> $log 2>&1 || return 1
    [ -x build/venv/bin/python ] || tools/clients.sh curl >> $log 2>&1 || return 1 # makes it
    for t in tests/clients/test_*.py; do
        [[ $t == *local_model* ]] || run build/venv/bin/python "$t" $b/weir # what a model says reaches no line of its own, and takes minutes
    done
}
hostile() { built $b/weir && run python3 tests/hostile/hostile.py $b/weir; }
for s in $suites; do
    began=$SECONDS
    $s || { echo "coverage: $s does not build; see $log"; exit 1; }
    echo "coverage: $s, $((SECONDS - began)) s"
done

# A process that was killed while it wrote costs its file, not the run
llvm-profdata-19 merge -sparse -failure-mode=warn -o build/coverage/all.profdata build/coverage/raw/*.profraw || exit 1
programs=$(find $b/tests $b/weir -type f -perm -u+x ! -name '*.*' 2>/dev/null)
objects=$(printf -- ' -object %s' $programs)
objects=${objects# -object } # the first stands alone
llvm-cov-19 export -summary-only -show-mcdc-summary -instr-profile build/coverage/all.profdata $objects -sources src > build/coverage/summary.json 2>> $log || exit 1
llvm-cov-19 show -format=html -show-mcdc -output-dir build/coverage/html -instr-profile build/coverage/all.profdata $objects -sources src >> $log 2>&1
PYTHONDONTWRITEBYTECODE=1 python3 tools/coverage.py build/coverage/summary.json $([ "$suites" = "$all" ] && [ $failed = 0 ] && echo --figure) || failed=1
exit $failed
