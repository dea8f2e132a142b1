#!/bin/sh
# Would break: an agent that plans, from the command line. The tiny model of the tree knows nothing, so it plans
# nonsense: whatever it says has to be a plan, end by itself, and be on the record, in both modes.
set -u
muga=${MUGA_PROGRAM:?}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export MUGA_HOME="$work/home"
bad=0
agent=$work/planner
cp -R tests/agents/planner "$agent"

# check NAME EXPECTED_CODE PATTERN COMMAND...
check() {
    name=$1 code=$2 pattern=$3
    shift 3
    "$@" >"$work/out" 2>"$work/err" </dev/null
    got=$?
    if [ "$got" -ne "$code" ] || ! cat "$work/out" "$work/err" | grep -qe "$pattern"; then
        bad=$((bad + 1))
        printf 'not ok: %s: exit %s (expected %s), expected "%s" in:\n' "$name" "$got" "$code" "$pattern"
        cat "$work/out" "$work/err"
    fi
}
run() {
    check "$1" "$2" "$3" "$muga" agent run "$agent" --model ./tests/data/tiny.gguf --session customer=7 -m "$4"
}

run "a plan is shown" 0 "^plan  *1\. " "where is my order A10001?"
sed -i 's/^plan:.*/plan: {mode: step}/' "$agent/agent.yaml"
run "step by step" 0 "^agent " "where is my order A10001?"
grep -q "^plan" "$work/out" && grep -q "^plan .*2\." "$work/out" && {
    bad=$((bad + 1))
    echo "not ok: step by step, but a plan of two steps was made"
}
check "the record is whole" 0 "" "$muga" audit verify
check "and replays" 0 "" "$muga" audit replay
sed -i 's/^plan:.*/plan: {mode: stepp}/' "$agent/agent.yaml"
run "a mode that is none" 4 "plan.mode.*did you mean 'step'" hi
sed -i "s/^plan:.*/plan: {answer: '{% if %}'}/" "$agent/agent.yaml"
run "an answer that is no template" 4 "plan.answer" hi
sed -i "s/^plan:.*/plan: {}/; s/^kind: goal/kind: reflex/" "$agent/agent.yaml"
run "a kind that does not plan" 4 "kind" hi
check "no labels to fit" 4 "kind\|intent" "$muga" agent fit "$agent" tests/agents/planner/shop.sql

[ "$bad" -eq 0 ] && echo ok
exit "$bad"
