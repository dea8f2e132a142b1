#!/bin/sh
# Would break: adapters from the command line - that --adapter changes what it should and nothing else, at the scale
# that was asked for, in every verb that takes it; what `show` says of an adapter; how wrong files and options are
# named.
set -u
muga=${MUGA_PROGRAM:?}
tiny=./tests/data/tiny.gguf
adapter=./tests/data/tiny-adapter.gguf
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. ./tests/support/says.sh
logits() { # NAME OPTIONS...
    name=$1
    shift
    "$muga" debug logits "$tiny" --ids 1,2,3,4,5 --all "$@" -o "$work/$name" || fail "debug logits $*"
}

logits plain
logits one --adapter "$adapter"
logits same --adapter "$adapter:1"
logits half --adapter "$adapter:0.5"
logits minus --adapter "$adapter:-.5"
logits batch --adapter "$adapter" --threads 3
cmp -s "$work/one" "$work/same" || fail "a scale of 1 isn't the default"
cmp -s "$work/one" "$work/batch" || fail "threads change an adapter's bits"
for name in one half minus; do
    cmp -s "$work/plain" "$work/$name" && fail "$name: the adapter changes nothing"
done
cmp -s "$work/half" "$work/minus" && fail "the scale's sign changes nothing"
cp "$adapter" "$work/odd:name.gguf"
logits odd --adapter "$work/odd:name.gguf"
cmp -s "$work/one" "$work/odd" || fail "a name with a colon"

says 0 '^rank  *2$' "$muga" show "$adapter"
says 0 '^adapter  *lora$' "$muga" show "$adapter"
says 0 '"alpha":4' "$muga" show --json "$adapter"
"$muga" show "$tiny" | grep -q '^rank' && fail "a model has no rank"
says 0 'perplexity' "$muga" perplexity "$tiny" README.md --chunks 1 --ctx 32 --adapter "$adapter"
cp "$work/stdout" "$work/with"
says 0 'perplexity' "$muga" perplexity "$tiny" README.md --chunks 1 --ctx 32
cmp -s "$work/with" "$work/stdout" && fail "perplexity pays no heed to --adapter"
"$muga" run "$tiny" --temp 0 -n 12 hello >"$work/plain" 2>/dev/null
"$muga" run "$tiny" --temp 0 -n 12 --adapter "$adapter" hello >"$work/with" 2>/dev/null || fail "run --adapter"
cmp -s "$work/with" "$work/plain" && fail "run pays no heed to --adapter"
says 0 'decode' "$muga" bench "$tiny" --prompt 8 --generate 4 --runs 1 --threads 1 --adapter "$adapter"

says 2 'empty' "$muga" run "$tiny" --adapter '' hi
says 2 'FILE:SCALE' "$muga" run "$tiny" --adapter "$adapter:" hi
says 2 'FILE:SCALE' "$muga" run "$tiny" --adapter "$adapter:1x" hi
says 2 'FILE:SCALE' "$muga" run "$tiny" --adapter "$adapter:1e99" hi
says 2 'finite' "$muga" run "$tiny" --adapter "$adapter:3e38" hi
says 3 'nothing.gguf' "$muga" run "$tiny" --adapter ./nothing.gguf hi
says 4 'general.type' "$muga" run "$tiny" --adapter "$tiny" hi
says 4 'is an adapter, not a model' "$muga" run "$adapter" hi
says 3 'nothing.gguf' "$muga" debug greedy "$tiny" --ids 1 --adapter ./nothing.gguf
says 3 'nothing.gguf' "$muga" perplexity "$tiny" README.md --adapter ./nothing.gguf
head -c 6000 "$adapter" >"$work/cut.gguf"
says 4 'cut.gguf' "$muga" run "$tiny" --adapter "$work/cut.gguf" hi

[ "$bad" -eq 0 ] && echo ok
[ "$bad" -eq 0 ]
