#!/bin/sh
# Would break: muga quantize writes over its own source, leaves a part of a model behind when it is interrupted, killed
# or out of disk, or says something else than what happened. Run as a person runs it, on the tiny model of the tree and,
# where it is there, the real one.
set -u
muga=${MUGA_PROGRAM:?}
tiny=tests/data/tiny.gguf
work=$(mktemp -d)
mounted=
trap '[ -z "$mounted" ] || umount "$mounted"; rm -rf "$work"' EXIT
bad=0
broken() { bad=$((bad + 1)); echo "not ok: $1"; }

# check NAME EXPECTED_CODE PATTERN COMMAND...: the command's exit code, and a pattern in its stdout or stderr.
check() {
    name=$1 code=$2 pattern=$3
    shift 3
    "$@" >"$work/stdout" 2>"$work/stderr" </dev/null
    got=$?
    if [ "$got" -ne "$code" ] || ! cat "$work/stdout" "$work/stderr" | grep -qe "$pattern"; then
        broken "$name: exit $got (expected $code), expected \"$pattern\" in:"
        cat "$work/stdout" "$work/stderr"
    fi
}
mkdir "$work/d"
# nothing NAME: the folder for results is empty.
nothing() {
    [ -z "$(ls -A "$work/d")" ] && return
    broken "$1 left $(ls -A "$work/d")"
    rm -f "$work/d"/*
}
out=$work/d/out.gguf

check "quantize" 0 "Q4_K_M, .* bits a weight" "$muga" quantize "./$tiny" "$out" Q4_K_M
check "it says what it was made from" 0 "quantising from" "$muga" quantize "./$tiny" "$out" Q4_K_M
check "the result runs" 0 "" "$muga" run "$out" hello -n 4 --temp 0
check "the result says what it is" 0 "tensor_types" "$muga" show "$out"
for type in F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q2_K Q3_K_S Q3_K_M Q3_K_L Q4_K_S Q4_K_M Q5_K_S Q5_K_M \
    Q6_K IQ4_NL IQ4_XS; do
    check "quantize to $type" 0 "\"type\":\"$type\"" "$muga" quantize "./$tiny" "$out" "$type" --json
done
check "in lower case" 0 "Q5_K_M" "$muga" quantize "./$tiny" "$out" q5_k_m
check "calibrated" 0 '"calibrated":true' \
    "$muga" quantize "./$tiny" "$out" Q4_0 --calibrate README.md --chunks 2 --json
"$muga" quantize "./$tiny" "$work/a.gguf" Q4_K_S --threads 1 >/dev/null 2>&1
"$muga" quantize "./$tiny" "$work/b.gguf" Q4_K_S --threads 3 >/dev/null 2>&1
cmp "$work/a.gguf" "$work/b.gguf" || broken "threads change the result"
rm -f "$out"

check "unknown type" 2 "no type to quantise to; there are F16 BF16" "$muga" quantize "./$tiny" "$out" Q9_Z
check "no type" 2 "missing" "$muga" quantize "./$tiny" "$out"
check "OUT is no path" 2 "path of a file" "$muga" quantize "./$tiny" out Q8_0
check "OUT is a folder" 2 "not a regular file" "$muga" quantize "./$tiny" "$work/d/" Q8_0
check "OUT is a device" 2 "not a regular file" "$muga" quantize "./$tiny" /dev/null Q8_0
check "OUT is named as a part" 2 "a part of a model" "$muga" quantize "./$tiny" "$work/d/x-00002-of-00003.gguf" Q8_0
check "OUT in no folder" 3 "no such" "$muga" quantize "./$tiny" "$work/none/out.gguf" Q8_0
check "IN is not there" 3 "no model" "$muga" quantize nosuch "$out" Q8_0
check "IN is no model" 4 "GGUF" "$muga" quantize ./README.md "$out" Q8_0
check "the text is not there" 3 "nosuch.txt" "$muga" quantize "./$tiny" "$out" Q4_0 --calibrate nosuch.txt
printf a >"$work/one.txt"
check "a text too short" 4 "at least two" "$muga" quantize "./$tiny" "$out" Q4_0 --calibrate "$work/one.txt"
nothing "a refused run"

# IN by any other name is still IN.
cp "$tiny" "$work/in.gguf"
ln "$work/in.gguf" "$work/hard.gguf"
ln -s in.gguf "$work/soft.gguf"
for name in in hard soft; do
    check "OUT is IN ($name)" 2 "the model that is read" "$muga" quantize "$work/in.gguf" "$work/$name.gguf" Q8_0
done
cmp "$tiny" "$work/in.gguf" || broken "IN was changed"

# What was there before stays when it can't be replaced: a limit on the size of files, then a disk that is full.
echo old >"$out"
(
    ulimit -f 64
    "$muga" quantize "./$tiny" "$out" F16 >"$work/stdout" 2>"$work/stderr"
)
[ $? -eq 6 ] && grep -q "file size limit" "$work/stderr" || broken "a limit on file size: $(cat "$work/stderr")"
[ "$(cat "$out")" = old ] && [ "$(ls -A "$work/d")" = out.gguf ] ||
    broken "a limit on file size left $(ls -A "$work/d")"
rm -f "$out"
mkdir "$work/small"
if mount -t tmpfs -o size=64k tmpfs "$work/small" 2>/dev/null; then
    mounted=$work/small
    check "a full disk" 6 "free disk space" "$muga" quantize "./$tiny" "$work/small/out.gguf" F16
    [ -z "$(ls -A "$work/small")" ] || broken "a full disk left $(ls -A "$work/small")"
fi

# Interrupted and killed at the half, as far as signals can be timed: a result is whole, or there is nothing.
interrupt() { # SIGNAL EXPECTED_CODE
    mkfifo "$work/progress"
    "$muga" quantize "$MUGA_TEST_MODEL" "$out" Q4_K_M --threads 1 >/dev/null 2>"$work/progress" &
    pid=$!
    while read -r line; do
        case $line in *"quantising 50"*) kill "-$1" "$pid" 2>/dev/null ;; esac
    done <"$work/progress"
    wait "$pid" 2>/dev/null
    got=$?
    rm "$work/progress"
    if [ "$got" -eq 0 ]; then
        "$muga" show "$out" >/dev/null || broken "a result that isn't one"
        rm -f "$out"
    else
        [ "$got" -eq "$2" ] || broken "after $1: exit $got"
        nothing "$1"
    fi
}
if [ -f "${MUGA_TEST_MODEL:-}" ]; then
    interrupt INT 130
    interrupt KILL 137
fi

[ "$bad" -eq 0 ] && echo "quantize as expected"
exit "$((bad > 0))"
