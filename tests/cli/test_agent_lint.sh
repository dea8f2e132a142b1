#!/bin/sh
# Would break: `muga agent lint`, on the command line and in CI; and an agent in the box that its own lint finds at
# fault.
set -u
muga=${MUGA_PROGRAM:?}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export MUGA_HOME="$work/home" TMPDIR="$work"
bad=0

# check NAME EXPECTED_CODE PATTERN ARGUMENTS...: muga agent lint ARGUMENTS
check() {
    name=$1 code=$2 pattern=$3
    shift 3
    "$muga" agent lint "$@" >"$work/out" 2>"$work/err" </dev/null
    got=$?
    if [ "$got" -ne "$code" ] || ! cat "$work/out" "$work/err" | grep -qe "$pattern"; then
        bad=$((bad + 1))
        printf 'not ok: %s: exit %s (expected %s), expected "%s" in:\n' "$name" "$got" "$code" "$pattern"
        cat "$work/out" "$work/err"
    fi
}

for agent in agents/*/; do
    check "$agent" 0 ": 0 errors" "./$agent"
done
[ ! -e "$work/home" ] || {
    bad=$((bad + 1))
    echo "not ok: lint made a store"
}

cp -R agents/customer-service "$work/shop"
sed -i '/^ *approval: always/s/always/never/; s/^  done: .*//' "$work/shop/agent.yaml"
line=$(grep -n "approval: never" "$work/shop/agent.yaml" | cut -d: -f1)
check "an error" 1 "shop/agent.yaml:$line:5: error: tools\[3\].approval: .* \[write-without-approval\]" "$work/shop"
grep -q "goal-without-check" "$work/out" && grep -q "1 errors, 1 warnings" "$work/out" || {
    bad=$((bad + 1))
    echo "not ok: not all was found:"
    cat "$work/out"
}
check "JSON" 1 "\"errors\":1,.*\"line\":$line,\"column\":5,\"level\":\"error\",\"rule\":\"write-without-approval\"" \
    "$work/shop" ./agents/customer-service --json
sed -i 's/approval: never/approval: never # lint: allow write-without-approval: a test/' "$work/shop/agent.yaml"
check "silenced" 0 "0 errors, .* 1 allowed" "$work/shop"
sed -i 's/effect: write/efect: write/' "$work/shop/agent.yaml"
check "a slip of the keyboard" 1 ":5: error: tools\[3\].efect: unknown key; did you mean .effect.?" \
    "$work/shop"
check "no agent" 3 "no agent named" nosuch
check "no name" 2 "missing"
mkdir "$work/home" "$work/home/agents" && cp -R agents/customer-service "$work/home/agents/copy"
check "by name" 0 "^copy: 0 errors" copy
[ -z "$(ls -d "$work"/muga-lint-* 2>/dev/null)" ] || {
    bad=$((bad + 1))
    echo "not ok: a folder was left"
}

[ "$bad" -eq 0 ] || { echo "$bad failed"; exit 1; }
echo "ok"
