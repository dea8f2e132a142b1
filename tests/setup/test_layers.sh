#!/bin/sh
# scripts/check-layers on small trees with one fault each. If this failed, the layers would be a drawing: an upward
# include or a new library in the engine would pass unseen.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/muga-layers-XXXXXX")
trap 'rm -rf "$work"' EXIT
n_failed=0

mkdir -p "$work/src/base" "$work/src/os" "$work/src/kernel" "$work/src/gguf" "$work/src/agent" "$work/src/net"
cp "$root/LAYERS" "$work/"
for header in base/str os/os kernel/kernel kernel/kernel_private gguf/gguf agent/agent; do
    : >"$work/src/$header.h"
done

# check WANTED LINE [FILE]: with LINE alone in FILE, check-layers finds WANTED ("" = nothing)
check() {
    file=${3:-src/kernel/x.c}
    mkdir -p "$work/$(dirname "$file")"
    printf '%s\n' "$2" >"$work/$file"
    rc=0
    "$root/scripts/check-layers" "$work" >"$work/out" 2>&1 || rc=$?
    if [ -z "$1" ]; then
        [ "$rc" -eq 0 ] || { echo "refused: $2 in $file: $(cat "$work/out")"; n_failed=$((n_failed + 1)); }
    elif [ "$rc" -ne 1 ] || ! grep -q "^$file:1: .*$1" "$work/out"; then
        echo "wanted \"$1\" for $2 in $file; got $rc: $(cat "$work/out")"
        n_failed=$((n_failed + 1))
    fi
    rm "$work/$file"
}

check '' '#include "base/str.h"'
check '' '#include "kernel/kernel_private.h"'
check '' '#include "muga.h"'
check '' '#include <immintrin.h>'
check '' '#include <pcre2.h>'
check '' '#include <sys/mman.h>' src/os/x.c
check '' '#include <curl/curl.h>' src/net/x.c
check 'may not see agent' '#include "agent/agent.h"'
check 'may not see gguf' '#  include "gguf/gguf.h"'
check 'may not see kernel' '#include "kernel/kernel.h"' src/gguf/x.c
check 'say the folder' '#include "kernel.h"'
check 'is compiled, not included' '#include "base/str.c"'
check 'is compiled, not included' '#include "../../src/base/str.c"' tests/unit/x.c
check 'private to kernel' '#include "kernel/kernel_private.h"' src/agent/x.c
check 'no such file' '#include "base/nothing.h"'
check 'has no rank' '#include "elsewhere/x.h"'
check 'has no rank' 'int x;' src/elsewhere/x.c
rm -r "$work/src/elsewhere"
check 'may not need this library' '#include <sqlite3.h>' src/gguf/x.c
check 'may not need this library' '#include <openssl/sha.h>' src/base/x.c
check 'makes no system calls' '#include <sys/stat.h>' src/base/x.c

echo 'allow src/kernel/x.c gguf/gguf.h for a reason' >>"$work/LAYERS"
check '' '#include "gguf/gguf.h"'
check 'may not see gguf' '#include "gguf/gguf.h"' src/kernel/y.c

[ "$n_failed" -eq 0 ] || { echo "$n_failed failed"; exit 1; }
echo 'layers: every case passed'
