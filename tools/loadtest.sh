#!/bin/bash
# loadtest.sh quick|full|headless|report: what `make load-test…` does. quick, full and headless start weir with a mock of a slow model behind it, unless URL names a
# server of one's own, run that scenario of weir bench, and leave its runs in build/loadtest/last.json; report makes a page of the last ones.
# URL=… another server; SCALE=0.1 a tenth of the time. The exit code is weir bench's: 0 criteria met, 1 missed, 2 wrong use, 3 the generator was the limit.
set -u
cd "$(dirname "$0")/.." || exit 2
out=build/loadtest
mkdir -p $out
pids=()

die() { echo "loadtest: $*" >&2; exit 2; }
stop() { for p in "${pids[@]}"; do kill "$p" 2>/dev/null; done; wait 2>/dev/null; }
trap stop EXIT

# The address that a program prints when it is ready: FILE PID
address() {
    for _ in $(seq 100); do
        grep -oE 'http://127\.0\.0\.1:[0-9]+' "$1" | head -1 | grep . && return
        kill -0 "$2" 2>/dev/null || break
        sleep 0.1
    done
    cat "$1" >&2
    return 1
}

# In $url: the server under test, and in $pid its process, if it is ours.
start() {
    url=${URL:-} pid=()
    [ -z "$url" ] || return 0
    build/weir mock --listen 127.0.0.1:0 --ttft 'lognormal(300ms,0.3)' --tokens 20 > $out/mock.log 2>&1 & pids+=($!)
    mock=$(address $out/mock.log $!) || die "the mock did not start"
    build/weir serve --listen 127.0.0.1:0 "$mock" > $out/weir.log 2>&1 & pids+=($!)
    url=$(address $out/weir.log $!) || die "weir did not start"
    pid=(--pid $!)
}

bench() {
    start
    build/weir bench "$@" "$url" "${pid[@]}" --scale "${SCALE:-1}" --json $out/last.json --junit $out/last.xml
}

case ${1:-} in
quick) bench quick ;;
full) bench full ;;
headless) bench full 2> $out/last.log ;;
report)
    [ -f $out/last.json ] || die "there is no run yet: make load-test writes one"
    build/weir bench report $out/last.json --html $out/last.html && echo "$out/last.html" ;;
*) die "quick, full, headless or report" ;;
esac
