#!/bin/sh
# Would break: muga merge writes over what it reads, leaves a part of a model behind when it is killed or out of disk,
# takes an adapter of another model, or gives a model that answers otherwise than the base with its adapter.
set -u
muga=${MUGA_PROGRAM:?}
tiny=./tests/data/tiny.gguf
adapter=./tests/data/tiny-adapter.gguf
work=$(mktemp -d)
mounted=
trap '[ -z "$mounted" ] || umount "$mounted"; rm -rf "$work"' EXIT
. ./tests/support/says.sh
mkdir "$work/d"
out=$work/d/out.gguf

says 0 'F32, .* matrices changed' "$muga" merge "$tiny" "$adapter" -o "$out" --type F32
greedy() { "$muga" debug greedy "$@" --ids 1,9,20,30 -n 12 --exact; }
greedy "$tiny" --adapter "$adapter" >"$work/with"
greedy "$out" >"$work/merged" || fail "the merged model doesn't run"
greedy "$tiny" >"$work/plain"
cmp -s "$work/plain" "$work/merged" && fail "merging changed nothing"
cmp -s "$work/with" "$work/merged" || fail "the merged model answers otherwise than the base with its adapter"
says 0 '' "$muga" run "$out" --temp 0 -n 4 hello
"$muga" show "$tiny" --json >"$work/a" && "$muga" show "$out" --json >"$work/b"
grep -q '"alpha"' "$work/b" && fail "the merged model says it is an adapter"
says 0 '"type":"Q8_0"' "$muga" merge "$tiny" "$adapter" -o "$out" --type q8_0 --json
says 0 '"scale":0.5' "$muga" merge "$tiny" "$adapter" -o "$out" --scale 0.5 --json
cp "$out" "$work/half.gguf"
"$muga" merge "$tiny" "$adapter" -o "$out" --threads 3 >/dev/null || fail "no --type"
cmp -s "$out" "$work/half.gguf" && fail "--scale changes nothing"
rm -f "$out"

says 2 'missing' "$muga" merge "$tiny" -o "$out"
says 2 'needs the path of a file' "$muga" merge "$tiny" "$adapter"
says 2 'needs the path of a file' "$muga" merge "$tiny" "$adapter" -o name
says 2 'no type to write' "$muga" merge "$tiny" "$adapter" -o "$out" --type Q9
says 2 'needs a number' "$muga" merge "$tiny" "$adapter" -o "$out" --scale x
says 3 'nothing.gguf' "$muga" merge "$tiny" ./nothing.gguf -o "$out"
says 3 'nothing.gguf' "$muga" merge ./nothing.gguf "$adapter" -o "$out"
says 4 'general.type' "$muga" merge "$tiny" "$tiny" -o "$out"
head -c 6000 "$adapter" >"$work/cut.gguf"
says 4 'cut.gguf' "$muga" merge "$tiny" "$work/cut.gguf" -o "$out"
cp "$tiny" "$work/in.gguf"
cp "$adapter" "$work/a.gguf"
says 2 'that is read' "$muga" merge "$work/in.gguf" "$work/a.gguf" -o "$work/in.gguf"
says 2 'that is read' "$muga" merge "$work/in.gguf" "$work/a.gguf" -o "$work/a.gguf"
cmp -s "$tiny" "$work/in.gguf" && cmp -s "$adapter" "$work/a.gguf" || fail "what is read was changed"
[ -z "$(ls -A "$work/d")" ] || fail "a refused run left $(ls -A "$work/d")"

# What was there stays when it can't be replaced: a limit on the size of files, then a disk that is full.
echo old >"$out"
(
    ulimit -f 64
    "$muga" merge "$tiny" "$adapter" -o "$out" --type F32 >/dev/null 2>"$work/stderr"
)
[ $? -eq 6 ] && grep -q "file size limit" "$work/stderr" || fail "a limit on file size: $(cat "$work/stderr")"
[ "$(cat "$out")" = old ] && [ "$(ls -A "$work/d")" = out.gguf ] || fail "a limit left $(ls -A "$work/d")"
rm -f "$out"
mkdir "$work/small"
if mount -t tmpfs -o size=64k tmpfs "$work/small" 2>/dev/null; then
    mounted=$work/small
    says 6 'free disk space' "$muga" merge "$tiny" "$adapter" -o "$work/small/out.gguf"
    [ -z "$(ls -A "$work/small")" ] || fail "a full disk left $(ls -A "$work/small")"
fi

# Killed and interrupted early and late: a result is whole, or there is nothing.
for signal in KILL INT; do
    for delay in 0 0.01 0.02 0.05; do
        "$muga" merge "$tiny" "$adapter" -o "$out" --type Q4_K_M --threads 1 >/dev/null 2>&1 &
        pid=$!
        sleep "$delay"
        kill "-$signal" "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
        for file in "$work/d"/* "$work/d"/.[!.]*; do
            [ -e "$file" ] || continue
            [ "$file" = "$out" ] && "$muga" show "$out" >/dev/null || fail "$signal after $delay s left $file"
            rm -f "$file"
        done
    done
done

[ "$bad" -eq 0 ] && echo ok
[ "$bad" -eq 0 ]
