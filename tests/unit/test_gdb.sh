#!/bin/sh
# test_gdb.sh: tools/weir-gdb.py tells each parked task's story, in a live process and in a core.
# Usage: tests/unit/test_gdb.sh PROGRAM   (tests/unit/gdb_parked.c, built with the variant to look at)
set -eu
program=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

failed() { echo "test_gdb: $1"; cat "$dir/said"; exit 1; }
expect() { # count, pattern
    [ "$(grep -c -e "$2" "$dir/said")" = "$1" ] || failed "expected $1 x $2"
}
look() {
    expect 70 '^worker 3 task [0-9]*\.1 "chat request" parked in "a slot of pool llama" for [0-9.]*[mun]*s request 0x'
    expect 70 '^    #[0-9]* 0x[0-9a-f]* waits_for_slot at .*gdb_parked.c:[0-9]*$'
    expect 70 '^    #[0-9]* 0x[0-9a-f]* chat_request at .*gdb_parked.c:[0-9]*$'
    expect 70 '^    #[0-9]* 0x[0-9a-f]* task_main at .*task.c:[0-9]*$'
    expect 1 '^70 tasks$'
}

look_with() { gdb -q -batch -ex 'set debuginfod enabled off' "$@" > "$dir/said" 2>&1 || failed "gdb failed"; }

look_with -ex run -ex 'source tools/weir-gdb.py' -ex 'weir-tasks -b' "$program"
look
look_with -ex 'run old' -ex "gcore $dir/core" "$program"
look_with -ex 'source tools/weir-gdb.py' -ex 'weir-tasks -b' "$program" "$dir/core"
look
look_with -ex 'source tools/weir-gdb.py' -ex weir-tasks "$program" "$dir/core"
expect 0 waits_for_slot # without -b no backtraces
expect 1 '^70 tasks$'
echo "test_gdb: ok"
