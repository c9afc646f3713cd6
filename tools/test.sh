#!/bin/bash
# test.sh [STAGE...]: every test, stage by stage, each with its time; the last line is the sum. `./run test` and `make test` call it.
# A stage is a row of the table below. Its output goes to build/log/STAGE; a failed one's end is shown, and what failed once more at the end.
set -u
cd "$(dirname "$0")/.."
mkdir -p build/log
jobs=$(nproc)
passed=0 failed=0 times="" failures=""

# Every program of a folder, one after another.
run_all() {
    local t
    for t in "$1"/"$2"*; do
        [ -x "$t" ] && [[ $t != *.* ]] || continue
        echo "# $t"
        "$t" 2>&1 || echo "1 failed: $t"
    done
}
units()     { make -s -j"$jobs" V=asan units && run_all build/asan/tests/unit test_; }
sims()      { make -s -j"$jobs" V=release sims && run_all build/release/tests/sim test_; }
sims_asan() { make -s -j"$jobs" V=asan sims && SIM_SEEDS=${SIM_SEEDS_ASAN:-200} WEIR_SEEDS=50 run_all build/asan/tests/sim test_; }
faults()    { make -s -j"$jobs" V=asan faults && build/asan/tests/fault/test_faults && make -s -j"$jobs" build/weir && tests/fault/test_syscalls.py build/weir; }
storms()    { make -s -j"$jobs" V=tsan CC=clang-19 storms && run_all build/tsan/tests/storm test_; }
compiles()  { make -s -j"$jobs" V=clang CC=clang-19 build/clang/weir && make -s -j"$jobs" V=ucontext build/ucontext/weir units-ucontext && echo "2 passed, 0 failed"; }
flows()     { make -s -j"$jobs" V=asan build/asan/tests/flow/flow && build/asan/tests/flow/flow tests/flow; }
gdb()       { make -s -j"$jobs" V=release build/release/tests/unit/gdb_parked && tests/unit/test_gdb.sh build/release/tests/unit/gdb_parked && echo "1 passed, 0 failed"; }
clients()   { tools/clients.sh; }
hostile()   { make -s build/weir && PYTHONDONTWRITEBYTECODE=1 python3 tests/hostile/hostile.py build/weir; }
quick()     { tools/figures.py --quick && echo "1 passed, 0 failed"; }

# FUZZ_SECONDS are for all targets together. Inputs nobody tried yet are for make nightly.
fuzz()      { make -s -j"$jobs" V=fuzz CC=clang-19 fuzzers && tools/fuzz.py "${FUZZ_SECONDS:-360}" --seed 1; }
agree()     { make -s -j"$jobs" V=release build/release/tests/agree/reads && tools/clients.sh --agree build/release/tests/agree/reads; }

telling='error:|ERROR|FAILED|failed:|ASSERT|Sanitizer|not ok|, [1-9][0-9]* failed'

# Adds up what cmocka, our python clients and our own programs print.
count() {
    local log=$1 rc=$2 p f
    p=$(awk '/^\[  PASSED  \] [0-9]+ test/ { n += $4 } match($0, /[0-9]+ passed, [0-9]+ failed/) { split(substr($0, RSTART), a, " "); n += a[1] } END { print n + 0 }' "$log")
    f=$(awk '/^\[  FAILED  \] [0-9]+ test/ { n += $4 } match($0, /[0-9]+ passed, [0-9]+ failed/) { split(substr($0, RSTART), a, " "); n += a[3] } /^1 failed: / { n += 1 } END { print n + 0 }' "$log")
    [ "$rc" -ne 0 ] && [ "$f" -eq 0 ] && f=1
    [ "$p" -eq 0 ] && [ "$f" -eq 0 ] && f=1 # a stage that ran nothing has failed
    passed=$((passed + p)) failed=$((failed + f))
    echo "   $p passed, $f failed" | sed 's/passed, \([0-9]*\) failed/ok, \1 not/'
    failures+=$(grep '^unsteady: ' "$log" | sed 's/$/\n/')
    [ "$f" -gt 0 ] || return
    grep -nE "$telling" "$log" | head -30
    tail -25 "$log"
    failures+="$f in $(basename "$log"):"$'\n'"$(grep -E "$telling" "$log" | head -12 | cut -c1-400)"$'\n'
}

stage() {
    local name=$1 t0 rc; shift
    if [ ${#only[@]} -gt 0 ] && [[ " ${only[*]} " != *" $name "* ]]; then return; fi
    echo "== $name"
    t0=$(date +%s)
    "$@" > "build/log/$name" 2>&1; rc=$?
    count "build/log/$name" "$rc"
    times="$times $name $(( $(date +%s) - t0 )) s,"
}

only=("$@")
stage tidy      make -s tidy
stage compiles  compiles
stage units     units
stage sims      sims
stage sims-asan sims_asan
stage flows     flows
stage faults    faults
stage gdb       gdb
stage storm     storms
stage agree     agree
stage fuzz      fuzz
stage clients   clients
stage hostile   hostile
stage figures   quick
stage prove     make -s prove

echo
printf '%s' "$failures"
echo "times:$times" | sed 's/,$//'
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
