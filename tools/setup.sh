#!/bin/sh
# Installs the Debian packages that weir needs and that are missing; ./run and CI call it.
#   tools/setup.sh [build|test|clang]
# build: what compiles and runs weir and the local model.  test: that, the tests' peers and tools, and clang.  clang: only clang.
# Does nothing, and takes no time, when everything is there. Never asks.
set -u

build='gcc g++ libc6-dev make pkg-config git curl ca-certificates python3 python3-pip python3-numpy
       libssl-dev libnghttp2-dev libc-ares-dev libyaml-dev libxxhash-dev libsqlite3-dev libhiredis-dev zlib1g-dev libzstd-dev'
clang='clang-19 llvm-19 libclang-rt-19-dev'
test='libcmocka-dev chromium nginx haproxy tinyproxy redis-server wrk nghttp2-client slowhttptest valgrind gdb strace patch python3-venv'

say() { echo "setup: $*" >&2; }
die() { say "$*"; exit 1; }

set_name=${1:-build}
case $set_name in
    build) want=$build ;;
    test)  want="$build $test $clang" ;;
    clang) want=$clang ;;
    *) echo "usage: tools/setup.sh [build|test|clang]" >&2; exit 2 ;;
esac

command -v dpkg-query >/dev/null || die "this script installs Debian packages; elsewhere, install what corresponds to:" $want

have=" $(dpkg-query -W -f '${Package}:${db:Status-Status} ' $want 2>/dev/null) "
missing=
for package in $want; do
    case $have in *" $package:installed "*) ;; *) missing="$missing $package" ;; esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then as_root=
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then as_root='sudo -n'
else die "not root and no password-free sudo; as root, run: apt-get install --no-install-recommends$missing"
fi

# What a test starts it starts itself: Debian would start nginx, haproxy, tinyproxy and Redis at once, on ports that may be in use.
policy=/usr/sbin/policy-rc.d
policy_is_ours=
if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | $as_root tee $policy >/dev/null && $as_root chmod 755 $policy && policy_is_ours=yes
fi
tidy_up() { [ -z "$policy_is_ours" ] || $as_root rm -f $policy; policy_is_ours=; }
log=$(mktemp) || die "no room for a temporary file"
trap 'tidy_up; rm -f "$log"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

apt() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 "$@" >"$log" 2>&1 </dev/null
}

say "installing$missing"
began=$(date +%s)
try=1
until apt update && apt install --no-install-recommends $missing; do
    if [ $try = 4 ]; then tail -n 15 "$log" >&2; die "apt-get failed four times (its last words are above)"; fi
    wait_s=$((try * 5))
    say "apt-get failed: $(grep -m1 '^E:' "$log" || tail -n 1 "$log"); again in $wait_s s"
    sleep $wait_s
    try=$((try + 1))
done

# On the next boot too, they stay out of the way.
if [ -d /run/systemd/system ]; then
    for service in nginx haproxy tinyproxy redis-server; do
        case "$missing " in *" $service "*) $as_root systemctl disable --quiet $service 2>/dev/null ;; esac
    done
fi
say "done in $(($(date +%s) - began)) s"
