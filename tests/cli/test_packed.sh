#!/bin/sh
# Would break: the packed file a person gets without asking: made by the first run, mapped by the next, the same answer
# with it, without it and where it can't be; checked, cleaned up and removed by the verbs that say so.
set -u
muga=${MUGA_PROGRAM:?}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp tests/data/tiny.gguf "$work/tiny.gguf"
MUGA_HOME=$work/home
export MUGA_HOME
bad=0

# run EXPECTED ARGUMENT...: a short answer, the same each time; stderr holds the pattern ("" = nothing of weights).
run() {
    expected=$1
    shift
    "$muga" run "$work/tiny.gguf" hello -n 8 --temp 0 --verbose "$@" >"$work/out" 2>"$work/err" </dev/null
    code=$?
    [ -f "$work/first" ] || cp "$work/out" "$work/first"
    if [ "$code" -ne 0 ] || ! cmp -s "$work/out" "$work/first"; then
        bad=$((bad + 1))
        echo "not ok: $expected $*: exit $code, or another answer"
    fi
    if [ -z "$expected" ] && grep -q "weights" "$work/err" || ! grep -qe "$expected" "$work/err"; then
        bad=$((bad + 1))
        echo "not ok: expected \"$expected\" with $*:"
        cat "$work/err"
    fi
}
check() {
    if ! eval "$2"; then
        bad=$((bad + 1))
        echo "not ok: $1"
    fi
}

run "" --no-cache
check "--no-cache writes nothing" '[ ! -e "$MUGA_HOME/packed" ]'
run "weights: packed now and kept"
run "weights: mapped from"
run "" --no-cache
check "one file" '[ "$(ls "$MUGA_HOME/packed" | wc -l)" -eq 1 ]'
(cd "$work" && "$muga" run ./tiny.gguf hello -n 1 --temp 0 --verbose 2>&1 </dev/null | grep -q "mapped from")
check "a relative path is the same file" '[ $? -eq 0 ]'
"$muga" show "$work/tiny.gguf" >"$work/out"
check "show has its size" 'grep -q "^packed_bytes  *[0-9]" "$work/out"'
"$muga" doctor >"$work/out"
check "doctor reads it" 'grep -q "^ok *packed .*content is its digest" "$work/out"'

touch "$work/tiny.gguf"
run "weights: packed now and kept (.*written to since)"
run "weights: mapped from"

# One byte in the middle: no start sees it, doctor does, and takes it away.
packed=$MUGA_HOME/packed/$(ls "$MUGA_HOME/packed")
size=$(wc -c <"$packed")
printf '\377\377' | dd of="$packed" bs=1 seek=$((size - 40)) conv=notrunc 2>/dev/null
"$muga" doctor >"$work/out"
check "doctor finds damage" '[ $? -eq 1 ]'
check "doctor names it" 'grep -q "^BAD *packed .*digest.*removed" "$work/out"'
check "doctor removes it" '[ ! -e "$packed" ]'
run "weights: packed now and kept"

rm "$work/tiny.gguf"
"$muga" doctor >"$work/out"
check "doctor has nothing against a stale one" '[ $? -eq 0 ]'
check "doctor removes it" '[ ! -e "$packed" ] && grep -q "removed" "$work/out"'
cp tests/data/tiny.gguf "$work/tiny.gguf"

# Nowhere to write.
rm -rf "$MUGA_HOME/packed"
echo "in the way" >"$MUGA_HOME/packed"
run "weights: packed in memory: "
check "what is in the way stays" 'grep -q "in the way" "$MUGA_HOME/packed"'
rm "$MUGA_HOME/packed"
(
    unset MUGA_HOME HOME XDG_DATA_HOME
    run ""
    exit "$bad"
)
bad=$?

[ "$bad" -eq 0 ] && echo "ok"
exit "$bad"
