#!/bin/bash
# coverage.sh [SUITE...]: which lines of src/ the tests reach, measured by clang: units, sims, faults, flows, commands and clients, or those named.
# `make coverage` calls it; build/coverage holds the pages. All suites together write docs/figures/coverage.json and fail below LINES_LEAST.
set -u
cd "$(dirname "$0")/.."
LINES_LEAST=92
all="units sims faults flows clients"
suites=${*:-$all}
export LLVM_PROFILE_FILE=$PWD/build/coverage/raw/%4m.profraw # processes that end merge into four files a program
export SIM_SEEDS=${COVERAGE_SEEDS:-1000} WEIR_SEEDS=20
b=build/cover
log=build/coverage/log
make() { command make -s -j"$(nproc)" V=cover CC=clang-19 "$@" >> $log 2>&1; } # clang warns of conditions that MC/DC cannot follow
rm -rf build/coverage && mkdir -p build/coverage/raw || exit 1

failed=0
run() {
    "$@" >> "$log" 2>&1 || { echo "coverage: $1 fails; see $log"; failed=1; }
}
each() {
    local t
    for t in "$1"/test_*; do
        if [ -x "$t" ] && [[ $t != *.* ]]; then run "$t"; fi
    done
}
units()   { make units && each $b/tests/unit; }
sims()    { make sims && each $b/tests/sim; }
faults()  { make faults && run $b/tests/fault/test_faults; }
flows()   { make $b/tests/flow/flow && run $b/tests/flow/flow tests/flow; }
clients() {
    make $b/weir || return 1
    for t in curl commands openai_python; do
        run build/venv/bin/python "tests/clients/test_$t.py" $b/weir
    done
}
for s in $suites; do
    $s || { echo "coverage: $s does not build"; exit 1; }
done

llvm-profdata-19 merge -sparse -o build/coverage/all.profdata build/coverage/raw/*.profraw || exit 1
programs=$(find $b/tests $b/weir -type f -perm -u+x ! -name '*.*' 2>/dev/null)
objects=$(printf -- ' -object %s' $programs)
objects=${objects# -object } # the first stands alone
llvm-cov-19 export -summary-only -show-mcdc-summary -instr-profile build/coverage/all.profdata $objects -sources src > build/coverage/summary.json 2>> "$log" || exit 1
llvm-cov-19 show -format=html -output-dir build/coverage/html -instr-profile build/coverage/all.profdata $objects -sources src >> "$log" 2>&1

python3 - "$LINES_LEAST" "$([ "$suites" = "$all" ] && echo write)" <<'END' || failed=1
import json, sys
least, write = float(sys.argv[1]), sys.argv[2] == 'write'
judged = 'net/http_parse.c net/http_refuse.c net/http_head.c net/sse.c fleet/slots.c fleet/queue.c base/json.c base/text.c'.split()
folders, files, mcdc = {}, [], {}
for f in json.load(open('build/coverage/summary.json'))['data'][0]['files']:
    if '/src/' not in f['filename'] or not f['filename'].endswith('.c'):
        continue
    name, lines = f['filename'].split('/src/', 1)[1], f['summary']['lines']
    folder = folders.setdefault(name.split('/')[0], [0, 0])
    folder[0] += lines['covered']
    folder[1] += lines['count']
    files.append((100 * lines['covered'] / max(lines['count'], 1), name, lines['count'] - lines['covered']))
    if name in judged:
        m = f['summary']['mcdc']
        mcdc[name] = [m['covered'], m['count']]
rate = lambda pair: round(100 * pair[0] / max(pair[1], 1), 1)
total = [sum(p[i] for p in folders.values()) for i in (0, 1)]
for name, pair in sorted(folders.items()):
    print(f'{name:<10} {rate(pair):5.1f} % of {pair[1]} lines')
print(f'{"src":<10} {rate(total):5.1f} % of {total[1]} lines')
print('below 85 %: ' + (', '.join(f'{name} {share:.0f} % ({lost} lines)' for share, name, lost in sorted(files) if share < 85) or 'none'))
for name, pair in sorted(mcdc.items()):
    print(f'MC/DC of {name}: {rate(pair)} % of {pair[1]} conditions')
if write:
    figures = {'lines': {'src': rate(total), **{name: rate(pair) for name, pair in sorted(folders.items())}}, 'mcdc': {name: rate(pair) for name, pair in sorted(mcdc.items())}}
    open('docs/figures/coverage.json', 'w').write(json.dumps(figures, indent=1) + '\n')
    if rate(total) < least:
        print(f'coverage: {rate(total)} % of the lines, where {least} % are asked')
        sys.exit(1)
END
exit $failed
