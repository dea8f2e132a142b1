#!/bin/sh
# Would break: `muga agent new`: an agent that is made can be linted, measured and run at once, by its name or path; and
# nothing that was there is overwritten.
set -u
muga=${MUGA_PROGRAM:?}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export MUGA_HOME="$work/home" TMPDIR="$work"
bad=0

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

check "into the store" 0 "made $work/home/agents/shop$" new shop --tools sql,clock --model "$PWD/tests/data/tiny.gguf"
check "its lint" 0 "^shop: 0 errors, 0 warnings" lint shop
check "its evaluation" 0 "^completion  *100.0 %" test shop
check "its answer" 0 "K1001 is a lamp; there are 7" run shop --session user=1 -m "what is k1001"
check "what is held" 5 "has to agree" run shop --session user=1 -m "please reserve K1001"
check "in the list" 0 "^shop .*Answers questions" list
sum=$(cat "$work/home/agents/shop/"*.* | cksum)
check "it is there already" 2 "nothing is overwritten" new shop --kind reflex
[ "$(cat "$work/home/agents/shop/"*.* | cksum)" = "$sum" ] || {
    bad=$((bad + 1))
    echo "not ok: something was overwritten"
}
mkdir "$work/mine"
check "a folder that is there" 2 "nothing is overwritten" new mine --dir "$work/mine"
ln -s "$work/nowhere" "$work/link"
check "a link that leads nowhere" 2 "nothing is overwritten" new mine --dir "$work/link"
check "elsewhere" 0 "made .*deep/meter$" new meter --kind reflex --tools files --dir "$work/deep/meter/"
check "its files" 0 "Welcome" run "$work/deep/meter" --session user=1 -m "read D101"
check "rules over a state" 0 "made" new keeper --kind model --dir "$work/keeper"
check "and their evaluation" 0 "^completion  *100.0 %" test "$work/keeper"
check "a tool that is a program, and others" 0 "made" new parts --kind reflex --tools command,search,memory \
    --dir "$work/parts"
[ -x "$work/parts/tools/price" ] || {
    bad=$((bad + 1))
    echo "not ok: the program can't be run"
}
if "$muga" agent run "$work/parts" --session user=1 -m "hello" 2>&1 | grep "sandbox: "; then
    echo "skipped: this machine has no sandbox"
else
    check "its evaluation, in the sandbox" 0 "^completion  *100.0 %" test "$work/parts"
    check "its program's answer" 0 "P1002 costs 15" run "$work/parts" --session user=1 -m "What is P1002?"
    check "what it finds" 0 "noon.*office.md:5-7" run "$work/parts" --session user=1 -m "what does it say about post"
fi
check "no such kind" 2 "reflex, model and goal" new a --kind goals
check "no such tool" 2 "there are sql, clock, files, search, memory, http, command" new a --tools mail
check "too many" 2 "name fewer" new a --tools sql,memory,clock,files
check "no such name" 2 "is no name of an agent" new ../a
check "no room" 6 "can't be made" new a --dir /proc/nosuch
[ ! -e "$work/home/agents/a" ] || {
    bad=$((bad + 1))
    echo "not ok: something was made of what was refused"
}

[ "$bad" -eq 0 ] || { echo "$bad failed"; exit 1; }
echo "ok"
