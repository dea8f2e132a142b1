#!/bin/sh
# Would break: running, holding, resuming and measuring an agent from the command line. The agent in the box, decided by
# its examples alone (a copy with model_weight 0), with the tiny model of the tree for the arguments.
set -u
muga=${MUGA_PROGRAM:?}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export MUGA_HOME="$work/home"
bad=0
agent=$work/customer-service
cp -R agents/customer-service "$agent"
sed -i 's/model_weight: 0.7/model_weight: 0/' "$agent/agent.yaml"

# check NAME EXPECTED_CODE PATTERN ARGUMENTS...: muga agent ARGUMENTS
check() {
    name=$1 code=$2 pattern=$3
    shift 3
    "$muga" agent "$@" >"$work/out" 2>"$work/err" </dev/null
    got=$?
    if [ "$got" -ne "$code" ] || ! cat "$work/out" "$work/err" | grep -qe "$pattern"; then
        bad=$((bad + 1))
        printf 'not ok: %s: exit %s (expected %s), expected "%s" in:\n' "$name" "$got" "$code" "$pattern"
        cat "$work/out" "$work/err"
    fi
}
run() {
    name=$1 code=$2 pattern=$3
    shift 3
    check "$name" "$code" "$pattern" run "$agent" --model ./tests/data/tiny.gguf "$@"
}

check "list" 0 "customer-service" list
run "an order" 0 "Order A31507 .* is processing" --session customer=69 -m "where is my order a31507"

# First starts at the same time, each of which finds neither store nor databases.
for i in 1 2 3 4; do
    MUGA_HOME="$work/first" "$muga" agent run "$agent" --model ./tests/data/tiny.gguf --session customer=69 \
        -m "where is my order a31507" >"$work/first.$i" 2>&1 </dev/null &
done
wait
for i in 1 2 3 4; do
    grep -q "Order A31507 .* is processing" "$work/first.$i" || {
        bad=$((bad + 1))
        printf 'not ok: first starts at the same time, %s:\n' "$i"
        cat "$work/first.$i"
    }
done
run "someone else's number" 0 "no order A31507 on your account" --session customer=70 -m "where is my order a31507"
run "no session" 4 "customer.*--session" -m hi
run "no message" 4 "no message" --session customer=69
run "an empty message" 4 "message is empty" --session customer=69 -m " "
run "demo approver" 0 "demo's own approver says yes" --session customer=69 -m "I forgot my password" --approve demo

run "held" 5 "agent run .*--resume s-" --session customer=69 -m "I forgot my password"
session=$(sed -n 's/.*--resume \(s-[a-z0-9]*\).*/\1/p' "$work/out")
approval=$(sed -n 's/.*approval \([0-9a-z-]*\),.*/\1/p' "$work/out" | head -n 1)
run "still held" 5 "held" --resume "$session"
"$muga" approve no "$approval" >"$work/out" 2>&1 || {
    bad=$((bad + 1))
    echo "not ok: approve no $approval"
    cat "$work/out"
}
run "denied" 5 "did not agree" --resume "$session"
run "over" 3 "nothing is held" --resume "$session"

head -n 5 "$agent/eval/dev.jsonl" >"$work/tasks"
sums='"tasks":5,"completed":5,"wrong_effects":0,"unapproved":0,"escalated":0'
check "test as JSON" 0 "^{$sums,"'"results":\[{"id":"dev-01","ok":true,"why":"","outcome":"answer","confidence":null}' \
    test "$agent" --model ./tests/data/tiny.gguf --tasks "$work/tasks" --json
"$muga" agent test "$agent" --model ./tests/data/tiny.gguf --tasks - --json <"$work/tasks" 2>&1 | grep -q "$sums" || {
    bad=$((bad + 1))
    echo "not ok: tasks on standard input"
}
mkdir "$work/several"
head -n 3 "$work/tasks" >"$work/several/a.jsonl"
tail -n 2 "$work/tasks" >"$work/several/b.jsonl"
check "tasks of a folder" 0 "$sums" test "$agent" --model ./tests/data/tiny.gguf --tasks "$work/several" --json
mkdir "$work/none"
check "a folder without tasks" 3 "no tasks" test "$agent" --model ./tests/data/tiny.gguf --tasks "$work/none"
echo '{"id": 1}' >"$work/tasks"
check "a bad task" 4 "tasks:1" test "$agent" --model ./tests/data/tiny.gguf --tasks "$work/tasks"
check "no such tasks" 3 "none.jsonl" test "$agent" --model ./tests/data/tiny.gguf --tasks "$work/none.jsonl"

# A manifest's adapter and kind of keys and values: used, recorded, and asked for by the replay.
cp tests/data/tiny.gguf tests/data/tiny-adapter.gguf "$agent/"
adapter="adapter: {file: tiny-adapter.gguf, scale: 0.5}"
sed -i -e '/^adapter: /d' -e 's/^    logprob: .*/    logprob: 0/' \
    -e "s|^model: .*|model: $agent/tiny.gguf\\n$adapter\\nkv: q8|" "$agent/agent.yaml"
order="--session customer=69 -m where-is-A31507"
export MUGA_HOME="$work/home2"
# shellcheck disable=SC2086
check "an adapter" 0 "Order A31507" run "$agent" $order
replay() {
    expected=$1 pattern=$2
    shift 2
    "$muga" audit replay "$@" >"$work/out" 2>&1
    got=$?
    [ "$got" -eq "$expected" ] && grep -q "$pattern" "$work/out" || {
        bad=$((bad + 1))
        echo "not ok: exit $got, not $expected: audit replay $*: $(cat "$work/out")"
    }
}
replay 2 "with the adapter of SHA-256 .*--adapter"
replay 0 "the same to the bit" --adapter "$agent/tiny-adapter.gguf"
mkdir "$MUGA_HOME/agents" && ln -s "$agent" "$MUGA_HOME/agents/shop" # among the store's agents it is found by itself
replay 0 "the same to the bit"
rm -r "$MUGA_HOME/agents"
"$muga" audit log --json | grep -q '"kv":"q8"' || {
    bad=$((bad + 1))
    echo "not ok: kv: q8 isn't in the record"
}
# shellcheck disable=SC2086
check "a wrong kind" 2 "f16, f32 or q8" run "$agent" $order --kv q4
# shellcheck disable=SC2086
check "another model goes without it" 0 "Order A31507" run "$agent" $order --model "$agent/tiny.gguf"
sed -i 's/tiny-adapter.gguf, scale/none.gguf, scale/' "$agent/agent.yaml"
check "an adapter that isn't there" 4 "agent.yaml:[0-9]*: key adapter.file: the adapter is not there" test "$agent"
sed -i 's|none.gguf, scale|../tiny-adapter.gguf, scale|' "$agent/agent.yaml"
check "an adapter from elsewhere" 4 "agent.yaml:[0-9]*: key adapter.file: .*agent's folder" test "$agent"

[ "$bad" -eq 0 ] || { echo "$bad failed"; exit 1; }
echo "ok"
