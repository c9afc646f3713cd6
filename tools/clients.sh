#!/bin/bash
# Black-box clients against build/weir: the official openai SDKs in Python and Node, curl, raw sockets, the commands, the local model.
#   tools/clients.sh [FILE...]     all of tests/clients/test_*.py and test_*.mjs, or those whose name has one of the words in it
#   tools/clients.sh --agree READER [ARGUMENT...]    none of these: tests/agree/agree.py, which needs the same Python and Node
# Installs what they need, pinned with hashes, in build/venv and build/node when that has changed. Each file starts its own servers on free
# ports of loopback, stops them, and ends with "N passed, N failed".
set -u
cd "$(dirname "$0")/.." || exit 1

python=/usr/bin/python3                         # the system's: another one, earlier in PATH, may have no venv
[ -x $python ] || python=python3
node_major_min=22                               # the SDK's own lower bound
file_s=170                                      # nothing needs a third of it when the machine is idle

say() { echo "clients: $*" >&2; }
die() { say "$*"; exit 1; }

# ---- what they run on ----

venv_ready() {
    local stamp
    stamp=$( { cat tests/clients/requirements*.txt; $python --version; } | sha256sum | cut -d' ' -f1)
    [ "$(cat build/venv/.stamp 2>/dev/null)" = "$stamp" ] && return
    say "the Python SDK and sslyze, into build/venv …"
    rm -rf build/venv
    $python -m venv build/venv >build/log/venv 2>&1 || { tail -n 5 build/log/venv >&2; die "$python has no venv: tools/setup.sh test installs it"; }
    build/venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input --no-deps --only-binary :all: --require-hashes \
        -r tests/clients/requirements.txt >build/log/venv 2>&1 </dev/null || { tail -n 5 build/log/venv >&2; die "cannot install tests/clients/requirements.txt"; }
    build/venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input --no-deps --no-build-isolation --require-hashes \
        -r tests/clients/requirements_source.txt >build/log/venv 2>&1 </dev/null || { tail -n 5 build/log/venv >&2; die "cannot install tests/clients/requirements_source.txt"; }
    echo "$stamp" > build/venv/.stamp
}

# The machine's Node if it is new enough and has npm, else the pinned one. In $node and $npm, npm with its own Node.
node_find() {
    local folder
    node=node npm=(npm)
    command -v npm >/dev/null && [ "$(node -p 'process.versions.node.split(".")[0]' 2>/dev/null || echo 0)" -ge $node_major_min ] && return
    folder=$(tools/fetch.sh node) || die "there is no Node"
    node=$folder/bin/node npm=("$folder/bin/node" "$folder/lib/node_modules/npm/bin/npm-cli.js")
}

node_ready() {
    local stamp
    node_find
    stamp=$(cat tests/clients/package.json tests/clients/package-lock.json | sha256sum | cut -d' ' -f1)
    [ "$(cat build/node/.stamp 2>/dev/null)" = "$stamp" ] && return
    say "the Node SDK, into build/node …"
    rm -rf build/node
    mkdir -p build/node && cp tests/clients/package.json tests/clients/package-lock.json tests/clients/.npmrc build/node/ || die "cannot write to build/node"
    (cd build/node && "${npm[@]}" ci --ignore-scripts --silent) >build/log/node 2>&1 </dev/null || { tail -n 5 build/log/node >&2; die "cannot install tests/clients/package-lock.json"; }
    echo "$stamp" > build/node/.stamp
}

# ---- running ----

child=
trap 'kill $child 2>/dev/null; exit 143' INT TERM HUP

# One file, once: its exit code and, in $line, its count. One that fails without saying how many did counts as one.
try_file() {
    local rc
    timeout --kill-after=10 $file_s "$@" build/weir >"$log" 2>&1 </dev/null &
    child=$!
    wait $child
    rc=$?
    line=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$log" | tail -n 1)
    if [ -z "$line" ]; then
        line="0 passed, 1 failed"
        [ $rc = 124 ] && line="$line   (stopped after $file_s s)"
    fi
    [ $rc = 0 ] && return
    grep -vE '^ok |^[0-9]+ passed, ' "$log" | tail -n 200
    case $line in *' 0 failed') line="${line% 0 failed} 1 failed" ;; esac
    return $rc
}

# These are real processes beside strangers' on a few cores: a file that failed has a second try, and what failed the first time is told as unsteady,
# never hidden. What fails twice has failed.
run_file() {
    local file=$1 log began line
    shift
    log=build/log/$(basename "$file")
    began=$(date +%s)
    echo "# $file"
    if ! try_file "$@" "$file"; then
        echo "unsteady: $(basename "$file"): $(grep -E '^FAILED' "$log" | head -n 5 | tr '\n' ';' | cut -c1-300) ${line#*passed, }"
        try_file "$@" "$file" || failed_files=$((failed_files + 1))
    fi
    echo "$line   $(basename "$file"), $(($(date +%s) - began)) s"
}

mkdir -p build/log || die "cannot write to build/log"
export PYTHONDONTWRITEBYTECODE=1
if [ "${1:-}" = --agree ]; then
    venv_ready
    node_find
    exec build/venv/bin/python tests/agree/agree.py --node "$node" "${@:2}"
fi
[ -x build/weir ] || make -s build/weir || die "weir does not build"
[ -x build/local/llama-server ] || tools/local-model.sh || die "there is no local model"
venv_ready
node_ready
failed_files=0 files=0
for file in tests/clients/test_*.py tests/clients/test_*.mjs; do
    if [ $# -gt 0 ]; then
        for word in "$@"; do case $file in *"$word"*) break ;; *) false ;; esac done || continue
    fi
    files=$((files + 1))
    case $file in
        *.py)  run_file "$file" build/venv/bin/python ;;
        *.mjs) run_file "$file" "$node" ;;
    esac
done
[ $files -gt 0 ] && [ $failed_files = 0 ]
