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
check "no agent comes before no message" 3 "no agent named 'nobody-here'" run nobody-here
run "no message" 4 "no message" --session customer=69
# What can be told without a model is told before one is looked for, in the order in which a person would mend it.
bare() {
    name=$1 code=$2 pattern=$3
    shift 3
    check "$name" "$code" "$pattern" run "$agent" --model nosuch "$@"
}
bare "no session, and no model" 4 "customer.*--session" -m hi
bare "a wrong value, and no model" 4 "customer.*--session" --session customer=x -m hi
bare "no such session, and no model" 3 "session s-nosuch: not there" --resume s-nosuch
bare "no message, and no model" 4 "no message" --session customer=69
bare "no model" 3 "no model 'nosuch" --session customer=69 -m hi
bare "values of a session that is there" 2 "--session is for a new session" --resume s-1 --session customer=69
run "an empty message" 4 "message is empty" --session customer=69 -m " "
run "demo approver" 0 "demo's own approver says yes" --session customer=69 -m "I forgot my password" --approve demo

run "held" 5 "agent run .*--resume s-" --session customer=69 -m "I forgot my password"
session=$(sed -n 's/.*--resume \(s-[a-z0-9]*\).*/\1/p' "$work/out")
approval=$(sed -n 's/.*approval \([0-9a-z-]*\),.*/\1/p' "$work/out" | head -n 1)
run "still held" 5 "held" --resume "$session"
run "a dry run of what was begun in earnest" 2 "isn't a dry run, and can't become one" --resume "$session" --dry
"$muga" approve no "$approval" >"$work/out" 2>&1 || {
    bad=$((bad + 1))
    echo "not ok: approve no $approval"
    cat "$work/out"
}
run "denied" 5 "did not agree" --resume "$session"
run "over" 3 "nothing is held" --resume "$session"

# Who may say yes: the operator's file, and never who asked.
strict=$work/strict
cp -R "$agent" "$strict"
echo 'approvals: {by: [manager], not: requester}' >>"$strict/agent.yaml"
"$muga" agent run "$strict" --model ./tests/data/tiny.gguf --session customer=69 -m "I forgot my password" \
    >"$work/out" 2>&1 </dev/null
approval=$(sed -n 's/.*approval \([0-9a-z-]*\),.*/\1/p' "$work/out" | head -n 1)
# approve NAME CODE PATTERN ARGUMENTS...: muga approve ARGUMENTS
approve() {
    name=$1 code=$2 pattern=$3
    shift 3
    "$muga" approve "$@" >"$work/out" 2>&1 </dev/null
    got=$?
    if [ "$got" -ne "$code" ] || ! grep -qe "$pattern" "$work/out"; then
        bad=$((bad + 1))
        printf 'not ok: %s: exit %s (expected %s), expected "%s" in:\n' "$name" "$got" "$code" "$pattern"
        cat "$work/out"
    fi
}
user=$(id -un)
approve "nobody is named" 0 "yes by manager: nobody; .*approvers.yaml is not there.*not by $user, who began" list
approve "no file" 5 "approvers.yaml is not there" yes "$approval"
echo "somebody-else: [manager]" >"$MUGA_HOME/approvers.yaml"
approve "no role" 5 "$user can't approve reset_password: it takes the role manager" yes "$approval"
printf '%s: [manager]\nsomebody-else: [manager]\n' "$user" >"$MUGA_HOME/approvers.yaml"
approve "who may" 0 "yes by manager: somebody-else; not by $user, who began the session" list
approve "who asked" 5 "$user began the session" yes "$approval"
approve "anyone may say no" 0 "denied" no "$approval"
check "demo is nobody" 5 "the demo's approver is nobody" run "$strict" --model ./tests/data/tiny.gguf \
    --session customer=69 -m "I forgot my password" --approve demo

head -n 5 "$agent/eval/dev.jsonl" >"$work/tasks"
sums='"tasks":5,"completed":5,"wrong_effects":0,"unapproved":0,"escalated":0'
check "test as JSON" 0 "^{$sums,"'"runs":1,.*"results":\[{"id":"dev-01","ok":true,"why":"","outcome":"answer",' \
    test "$agent" --model ./tests/data/tiny.gguf --tasks "$work/tasks" --json
cp "$work/out" "$work/a.json"
check "several runs" 0 "all of k runs right .*k=3 100.0 %" \
    test "$agent" --model ./tests/data/tiny.gguf --tasks "$work/tasks" --runs 3
grep -q "15 of 15" "$work/out" && grep -q "energy .*" "$work/out" &&
    grep -q "by the prices of 20[0-9-]* (.*prices/cloud.yaml)" "$work/out" || {
    bad=$((bad + 1))
    echo "not ok: the table of three runs:"
    cat "$work/out"
}
check "no runs" 2 "runs is 1 to" test "$agent" --runs 0
cat >"$work/prices.json" <<'END'
{"currency": "EUR", "models": [{"model": "big", "input": 1, "output": 2, "as_of": "2026-01-01", "source": "a page"}]}
END
check "a price list" 0 "EUR for 1,000 tasks.* on big (2026-01-01: a page)" \
    test "$agent" --model ./tests/data/tiny.gguf --tasks "$work/tasks" --prices "$work/prices.json"
check "no price list" 4 "tasks:.*" test "$agent" --tasks "$work/tasks" --prices "$work/tasks"
mkdir -p "$MUGA_HOME/prices"
cat >"$MUGA_HOME/prices/cloud.yaml" <<'END'
currency: EUR
models:
  - {model: own, input: 1, cached: 0.1, output: 2, as_of: 2026-02-03, source: a page}
END
check "a list of one's own" 0 "EUR for 1,000 tasks.* on own (2026-02-03: a page)" \
    test "$agent" --model ./tests/data/tiny.gguf --tasks "$work/tasks"
grep -q "by the prices of 2026-02-03 ($MUGA_HOME/prices/cloud.yaml)" "$work/out" || {
    bad=$((bad + 1))
    echo "not ok: the date of one's own list:"
    cat "$work/out"
}
sed -i 's/cached/cache/' "$MUGA_HOME/prices/cloud.yaml"
check "a bad list" 4 "cloud.yaml:3:28: key models\[0\].cache: unknown key; did you mean 'cached'" \
    test "$agent" --tasks "$work/tasks"
rm -r "$MUGA_HOME/prices"

# Against another version, and a result against a result. The copy looks up the wrong thing.
cp -R "$agent" "$work/worse"
sed -i 's/^      tool: order_status/      tool: recent_orders/' "$work/worse/agent.yaml"
check "against another version" 0 "better .*dev-01.*" test "$agent" --model ./tests/data/tiny.gguf \
    --tasks "$work/tasks" --against "$work/worse"
grep -q "exact, two-sided" "$work/out" || {
    bad=$((bad + 1))
    echo "not ok: no test of the difference:"
    cat "$work/out"
}
check "the worse one's result" 0 '"completed":0' \
    test "$work/worse" --model ./tests/data/tiny.gguf --tasks "$work/tasks" --json
cp "$work/out" "$work/b.json"
check "a result against a result" 0 '"won":5,"lost":0,.*"p":0.0625' test "$work/a.json" --against "$work/b.json" --json
check "a result alone" 0 "completion .*100.0 %" test "$work/a.json"
check "a result has no tasks" 2 "give --against another result" test "$work/a.json" --against "$agent"
check "not a result" 4 "no result of" test "$work/prices.json"
# A folder that a killed evaluation left is removed by the next one; one in use is not.
mkdir "$work/tmp" "$work/tmp/muga-eval-aaaaaa" "$work/tmp/muga-eval-bbbbbb" "$work/tmp/muga-eval-cccccc"
touch "$work/tmp/muga-eval-aaaaaa/lock" "$work/tmp/muga-eval-bbbbbb/lock" "$work/tmp/muga-eval-cccccc/shop.db"
touch -d "2 days ago" "$work/tmp/muga-eval-cccccc"
flock "$work/tmp/muga-eval-bbbbbb/lock" env TMPDIR="$work/tmp" \
    "$muga" agent test "$agent" --model ./tests/data/tiny.gguf --tasks "$work/tasks" --json >/dev/null 2>&1
[ "$(ls "$work/tmp")" = "muga-eval-bbbbbb" ] || {
    bad=$((bad + 1))
    echo "not ok: left in TMPDIR: $(ls "$work/tmp")"
}

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
check "an adapter that isn't there" 4 "agent.yaml:[0-9]*:[0-9]*: key adapter.file: the adapter is not there" \
    test "$agent"
sed -i 's|none.gguf, scale|../tiny-adapter.gguf, scale|' "$agent/agent.yaml"
check "an adapter from elsewhere" 4 "agent.yaml:[0-9]*:[0-9]*: key adapter.file: .*agent's folder" test "$agent"

[ "$bad" -eq 0 ] || { echo "$bad failed"; exit 1; }
echo "ok"
