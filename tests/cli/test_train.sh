#!/bin/sh
# Would break: a training run that is killed, interrupted or out of disk and gone on with gives another adapter than one
# that was left alone; data, options or checkpoints that can't be used are passed over; the adapter doesn't work.
set -u
muga=${MUGA_PROGRAM:?}
tiny=./tests/data/tiny.gguf
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. ./tests/support/says.sh
i=0
while [ $i -lt 24 ]; do
    echo "{\"prompt\": \"what is number $i\", \"completion\": \"number $i is $((i * 37 % 101))\"}"
    i=$((i + 1))
done >"$work/data.jsonl"
train() { # OUT OPTIONS...
    to=$1
    shift
    "$muga" train "$tiny" "$work/data.jsonl" -o "$to" --rank 4 --batch 4 --epochs 5 --lr 0.01 --held-out 0.1 \
        --measure-every 5 --checkpoint-every 3 --threads 2 "$@"
}

train "$work/a.gguf" >"$work/stdout" 2>"$work/stderr" || fail "train: $(cat "$work/stderr")"
grep -q 'about .* s\|about .* min' "$work/stderr" || fail "no estimate before the start"
grep -q 'a step has .* tokens, of which it computes' "$work/stderr" || fail "not said what is computed once"
grep -q 'tokens/s, .* left' "$work/stderr" || fail "no progress: $(cat "$work/stderr")"
grep -q 'held-out loss .* before' "$work/stdout" && grep -q 'o held-out loss' "$work/stdout" || fail "no curve drawn"
head -1 "$work/a.gguf.csv" | grep -q '^step,loss,held_out_loss' || fail "no curve as CSV"
[ -e "$work/a.gguf.checkpoint" ] && fail "a finished run leaves its checkpoint"
says 0 '^rank  *4$' "$muga" show "$work/a.gguf"
says 0 '' "$muga" run "$tiny" --adapter "$work/a.gguf" --temp 0 -n 4 hello
says 0 'matrices changed' "$muga" merge "$tiny" "$work/a.gguf" -o "$work/merged.gguf"
says 4 "was trained on the model with SHA-256 .*this one has" \
    "$muga" run "$work/merged.gguf" --adapter "$work/a.gguf" -n 4 hello
says 0 '' "$muga" run "$work/merged.gguf" --adapter "$work/a.gguf" --any-base --temp 0 -n 4 hello
says 4 'SHA-256' "$muga" merge "$work/merged.gguf" "$work/a.gguf" -o "$work/twice.gguf"
says 0 'matrices changed' "$muga" merge "$work/merged.gguf" "$work/a.gguf" -o "$work/twice.gguf" --any-base
train "$work/b.gguf" --json --threads 1 --keep 0 >"$work/stdout" 2>/dev/null || fail "train --json"
grep -q '"held_out_after":' "$work/stdout" || fail "no JSON"
cmp -s "$work/a.gguf" "$work/b.gguf" || fail "threads or kept activations change the adapter"

# Killed at many moments, and gone on with until it ends.
rm -f "$work/b.gguf"
n=0
while [ ! -e "$work/b.gguf" ] && [ $n -lt 60 ]; do
    n=$((n + 1))
    how=
    [ -e "$work/b.gguf.checkpoint" ] && how=--resume
    train "$work/b.gguf" $how >/dev/null 2>&1 &
    pid=$!
    sleep 0.0$((n % 7))$n
    kill -KILL $pid 2>/dev/null
    wait $pid 2>/dev/null
    [ $n -eq 40 ] && { train "$work/b.gguf" $how >/dev/null 2>&1 || true; }
done
[ -e "$work/b.gguf" ] || train "$work/b.gguf" --resume >/dev/null 2>&1
cmp -s "$work/a.gguf" "$work/b.gguf" || fail "a killed run ends with another adapter"
cmp -s "$work/a.gguf.csv" "$work/b.gguf.csv" || fail "a killed run ends with another curve"
rm -f "$work/b.gguf.checkpoint"

# A limit on the size of files: the adapter and its checkpoint can't be written.
(
    ulimit -f 8
    train "$work/c.gguf" >/dev/null 2>"$work/stderr"
)
[ $? -eq 6 ] || fail "a limit on file size: $(cat "$work/stderr")"
[ -e "$work/c.gguf" ] && fail "a part of an adapter"

# What is refused.
one="{\"prompt\": \"a\", \"completion\": \"b\"}"
refuse() { # PATTERN LINE...
    pattern=$1
    shift
    printf '%s\n' "$@" >"$work/bad.jsonl"
    says 4 "$pattern" "$muga" train "$tiny" "$work/bad.jsonl" -o "$work/c.gguf"
}
refuse 'line 2: ' "$one" '{"prompt": '
refuse 'line 2: .*assistant' "$one" '{"messages": [{"role": "user", "content": "a"}]}'
refuse 'line 1: .*"bot"' '{"messages": [{"role": "bot", "content": "a"}]}'
refuse 'no samples' ''
printf '%s\n' "$one" "$one" >"$work/same.jsonl"
says 0 'the same answer' "$muga" train "$tiny" "$work/same.jsonl" -o "$work/c.gguf" --epochs 1
rm -f "$work/c.gguf" "$work/c.gguf.csv"
says 4 'more than the context of 8' "$muga" train "$tiny" "$work/data.jsonl" -o "$work/c.gguf" --ctx 8
says 2 'trained for' "$muga" train "$tiny" "$work/data.jsonl" -o "$work/c.gguf" --ctx 100000
says 2 '--type is F32, F16 or BF16' train "$work/c.gguf" --type Q4_0
says 2 '--rank is from 1' train "$work/c.gguf" --rank 0
says 2 'attn_q' train "$work/c.gguf" --targets attn_x
says 2 '--batch' train "$work/c.gguf" --batch 0
says 2 '--group' train "$work/c.gguf" --group 0
says 2 'share' train "$work/c.gguf" --held-out 1
says 2 'path of a file' train name
says 3 'nothing.jsonl' "$muga" train "$tiny" "$work/nothing.jsonl" -o "$work/c.gguf"
says 3 'no checkpoint' train "$work/c.gguf" --resume
echo nothing >"$work/c.gguf.checkpoint"
says 2 '--resume goes on' train "$work/c.gguf"
says 4 'not a checkpoint' train "$work/c.gguf" --resume
says 0 'rank 4' train "$work/c.gguf" --restart --epochs 1
[ -e "$work/c.gguf.checkpoint" ] && fail "--restart leaves the old checkpoint"

# Going on from an adapter: with its rank, from its loss, on its base.
says 0 'rank 4' train "$work/d.gguf" --from "$work/a.gguf" --rank 9 --epochs 1
best=$(tail -n +2 "$work/a.gguf.csv" | cut -d , -f 3 | grep . | sort -g | head -n 1)
first=$(sed -n 2p "$work/d.gguf.csv" | cut -d , -f 3)
[ "$first" = "$best" ] || fail "the held-out loss begins at $first, not at $best"
says 4 'the adapter was trained on the model .*this one has' \
    "$muga" train "$work/merged.gguf" "$work/data.jsonl" -o "$work/e.gguf" \
    --from "$work/a.gguf"
says 4 'goes on from pairs' train "$work/e.gguf" --from "$tiny"

[ "$bad" -eq 0 ] && echo ok
[ "$bad" -eq 0 ]
