#!/bin/bash
# prove.sh [NAME...]: plants each bug of tests/bugs.def (or those named), and wants its test to fail. `make prove` calls it.
# A test is a program under tests/, or one flow file: flow/NAME.
# Only the file with the bug is compiled anew: its object stands before the library, so the linker takes it instead of the healthy one.
set -u
cd "$(dirname "$0")/.."
export SIM_SEEDS="${SIM_SEEDS:-200}" SIM_FAILURES=1
limit=30 # seconds a test may take; one that hangs has noticed too
healthy_limit=150 # one that is merely slow, on a busy machine, is red for nothing
mkdir -p build/prove

rows() { sed -nE 's/^BUG\( *([a-z_0-9]+), *([^ ,]+), *".*", *([^ )]+)\).*/\1 \2 \3/p' tests/bugs.def; }

# The program of a test, and what it is called with.
program() { case $1 in flow/*) echo flow/flow ;; *) echo "$1" ;; esac; }
arguments() { case $1 in flow/*) echo "tests/$1.flow" ;; esac; }

prove_one() {
    local name=$1 file=$2 test=$3 dir=build/prove/$1 prog compile link
    prog=$(program "$test")
    mkdir -p "$dir"
    patch -s -o "$dir/planted.c" "$file" "tests/bugs/$name.patch" > "$dir/log" 2>&1 || { echo "$name: NOT PLANTED: tests/bugs/$name.patch does not fit $file"; return; }
    # make's own command for the object and for the test, with another output
    compile=$(make -n -W "$file" V=release "build/release/${file%.c}.o" | grep -- " -c -o ")
    compile=${compile/-c -o */-w -c -o $dir/planted.o $dir/planted.c}
    link=$(make -n -W "tests/$prog.c" V=release "build/release/tests/$prog" | grep -- " -o build/release/tests/$prog ")
    link=${link/-o build\/release\/tests\/$prog /-o $dir/test $dir/planted.o }
    if ! eval "$compile" > "$dir/log" 2>&1 || ! eval "$link" >> "$dir/log" 2>&1; then
        echo "$name: NOT BUILT, see $dir/log"
    elif { timeout "$limit" "$dir/test" $(arguments "$test"); } > "$dir/log" 2>&1; then
        echo "$name: NOT CAUGHT by $test"
    else
        echo "$name: caught by $test"
    fi
    rm -f "$dir/test"
}
export -f prove_one program arguments
export limit

mapfile -t tests < <(rows | awk '{ print $3 }' | sort -u)
mapfile -t programs < <(for t in "${tests[@]}"; do echo "build/release/tests/$(program "$t")"; done | sort -u)
make -s -j"$(nproc)" V=release "${programs[@]}" || exit 1
for t in "${tests[@]}"; do # what is red without a bug proves nothing
    timeout "$healthy_limit" "build/release/tests/$(program "$t")" $(arguments "$t") > build/prove/healthy 2>&1 || { echo "$t fails without any bug"; tail -5 build/prove/healthy; exit 1; }
done
if [ $# -gt 0 ]; then rows | grep -wE "^($(IFS='|'; echo "$*"))"; else rows; fi |
    xargs -P "$(nproc)" -L 1 bash -c 'prove_one "$@"' _ | tee build/prove/result
for p in tests/bugs/*.patch; do
    p=$(basename "$p" .patch)
    rows | grep -q "^$p " || echo "$p: a patch without a row in tests/bugs.def: NOT CAUGHT"
done | tee -a build/prove/result
passed=$(grep -c ': caught by ' build/prove/result)
failed=$(grep -c ': NOT ' build/prove/result)
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
