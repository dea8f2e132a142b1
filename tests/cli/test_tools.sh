#!/bin/sh
# Would break: `muga run --tools` prints what is no valid call of the tools it was given, calls where it may not or not
# where it must, or takes tools, choices and forms it can't do. On the tiny model of the tree, whose words are noise.
set -u
muga=${MUGA_PROGRAM:?}
tiny=./tests/data/tiny.gguf
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bad=0
broken() { bad=$((bad + 1)); echo "not ok: $1"; }
tools=$work/tools.json
cat >"$tools" <<'END'
[{"type": "function", "function": {"name": "order", "description": "Look up", "parameters": {"type": "object",
  "properties":{"id": {"type": "string", "pattern": "^A[0-9]{5}$"}, "fast": {"type": "boolean"}}, "required":["id"]}}},
 {"name": "ping"}]
END

# ask NAME CODE OPTION...: a turn; its answer in $work/answer, what was said beside it in $work/said.
ask() {
    name=$1 code=$2
    shift 2
    "$muga" run "$tiny" "Where is A12345?" --tools "$tools" -n 80 --temp 2 "$@" >"$work/answer" 2>"$work/said" \
        </dev/null
    got=$?
    [ "$got" -eq "$code" ] || broken "$name: exit $got (expected $code): $(cat "$work/said")"
}
order='{"id":"[A-Za-z0-9]\{9\}","name":"order","arguments":{"id":"A[0-9]\{5\}"\(,"fast":\(true\|false\)\)\{0,1\}}}'
call="$order\\|{\"id\":\"[A-Za-z0-9]\\{9\\}\",\"name\":\"ping\",\"arguments\":{}}"

for seed in 1 2 3; do
    for format in hermes llama mistral mistral-args deepseek functionary generic; do
        ask "a named call" 0 --tool-choice order --one-call --tool-format "$format" --seed "$seed" -n 300
        [ "$(wc -l <"$work/answer")" -eq 1 ] || broken "$format: not one line: $(cat "$work/answer")"
        grep -qx "$order" "$work/answer" || broken "$format: not the call that was asked for: $(cat "$work/answer")"
        ask "a required call" 0 --tool-choice required --tool-format "$format" --seed "$seed" -n 300
        grep -qvx "$call" "$work/answer" && broken "$format: not a call: $(cat "$work/answer")"
    done
done
ask "no call" 0 --tool-choice none -n 10
grep -q '^{"id"' "$work/answer" && broken "a call where there may be none: $(cat "$work/answer")"
ask "too few tokens" 4 --tool-choice required -n 3
grep -q "token limit" "$work/said" || broken "too few tokens: $(cat "$work/said")"
ask "nobody's tool" 4 --tool-choice nobody
grep -q '"nobody"' "$work/said" || broken "nobody's tool: $(cat "$work/said")"
ask "nobody's form" 2 --tool-format klingon
ask "thoughts" 2 --think=perhaps
"$muga" run "$tiny" x --tool-choice auto >/dev/null 2>&1 </dev/null
[ $? -eq 2 ] || broken "a choice without tools"
echo '[{"name": "a b"}]' >"$tools"
ask "a name that is none" 4
echo '{' >"$tools"
ask "no JSON" 4
rm "$tools"
ask "no file" 3

[ "$bad" -eq 0 ] || exit 1
echo ok
