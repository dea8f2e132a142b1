#!/bin/sh
# Would break: judging schemas by script - the verdicts of `debug accepts` and `debug validate`, a line out for each
# line in, their drafts, formats and remote documents, with and without a model.
set -u
muga=${MUGA_PROGRAM:?}
tiny=./tests/data/tiny.gguf
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bad=0
# says NAME EXPECTED ARGUMENTS...: the lines of $work/in give the lines EXPECTED
says() {
    name=$1
    printf '%s\n' "$2" >"$work/want"
    shift 2
    "$muga" debug "$@" <"$work/in" >"$work/out" 2>"$work/err"
    got=$?
    sed 's/{"error":".*/error/' "$work/out" >"$work/short"
    if [ "$got" -ne 0 ] || ! cmp -s "$work/want" "$work/short"; then
        bad=$((bad + 1))
        echo "not ok: $name: exit $got, $(cat "$work/err")"
        diff "$work/want" "$work/out"
    fi
}

cat >"$work/in" <<'END'
{"schema":{"properties":{"b":{},"a":{"type":"integer"}},"required":["a"]},"text":"{\"b\":1,\"a\":2,\"c\":3}"}
{"schema":{"properties":{"b":{},"a":{"type":"integer"}},"required":["a"]},"text":"{\"a\":2,\"b\":1}"}
{"regex":"a+(b|c)?","text":"aac"}
{"regex":"a+(b|c)?","text":"aacc"}
{"gbnf":"root ::= \"x\" root | \"y\"","text":"xxy"}
{"gbnf":"root ::= root \"y\"","text":"y"}
{"schema":{"type":"string","pattern":"(?=a)"},"text":"\"a\""}
{"schema":{},"regex":"a","text":"1"}
{"schema":{"items":[{"type":"null"}]},"draft":"draft7","text":"[null,1]"}
{"schema":{"items":[{"type":"null"}]},"draft":"draft7","text":"[1]"}
{"schema":{},"draft":"draft3","text":"1"}
not JSON
{"schema":{}}
{"schema":{"$ref":"urn:x"},"text":"7"}
{"schema":{"$ref":"urn:x"},"remotes":{"urn:x":{"type":"string"}},"text":"7"}
{"schema":{"$ref":"urn:x"},"remotes":[],"text":"7"}
END
want='true
false
true
false
true
error
true
error
true
false
error
error
error'
printf '{"urn:x":{"type":"integer"}}' >"$work/remotes"
says accepts "$want
error
false
error" accepts
says "accepts with a model" "$want
error
false
error" accepts "$tiny"
says "accepts with documents" "$want
true
false
error" accepts --remotes "$work/remotes"

cat >"$work/in" <<'END'
{"schema":{"type":"integer"},"data":1.0}
{"schema":{"type":"integer"},"data":1.5}
{"schema":{"format":"ipv4"},"data":"no"}
{"schema":{"format":"ipv4"},"data":"no","formats":true}
{"schema":{"type":"intege"},"data":1}
{"schema":{"dependencies":{"a":["b"]}},"data":{"a":1},"draft":"draft7"}
{"schema":{"dependencies":{"a":["b"]}},"data":{"a":1},"draft":"draft2020-12"}
{"schema":{}}
{"schema":{"$ref":"urn:x"},"data":7}
END
want='true
false
true
false
error
false
true
error'
says validate "$want
error" validate
says "validate with documents" "$want
true" validate --remotes "$work/remotes"

cat >"$work/in" <<'END'
{"schema":{"format":"ipv4"},"text":"\"no\"","data":"no"}
{"schema":{"format":"ipv4"},"text":"\"no\"","data":"no","formats":true}
{"schema":{"format":"ipv4"},"text":"\"no\"","data":"no","formats":false}
{"schema":{"enum":["no"],"format":"ipv4"},"text":"\"no\"","data":"no","formats":false}
END
says "accepts asserts formats" 'false
false
true
true' accepts
says "accepts takes formats as notes" 'true
false
true
true' accepts --formats annotate
says "validate takes formats as notes" 'true
false
true
true' validate
says "validate asserts formats" 'false
false
true
true' validate --formats assert
"$muga" debug accepts --formats maybe </dev/null >"$work/out" 2>"$work/err"
[ $? -eq 2 ] || { bad=$((bad + 1)) && echo "not ok: --formats takes anything"; }

printf '[]' >"$work/remotes"
for verb in accepts validate; do
    "$muga" debug $verb --remotes "$work/remotes" </dev/null >"$work/out" 2>"$work/err"
    [ $? -eq 4 ] || { bad=$((bad + 1)) && echo "not ok: $verb takes an array of remotes"; }
    "$muga" debug $verb --remotes "$work/nothing" </dev/null >"$work/out" 2>"$work/err"
    [ $? -eq 3 ] || { bad=$((bad + 1)) && echo "not ok: $verb takes remotes from nowhere"; }
done
exit $((bad > 0))
