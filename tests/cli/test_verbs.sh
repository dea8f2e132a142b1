#!/bin/sh
# Would break: a verb's exit code, the stream it speaks on, or what it does with wrong input, a closed pipe, a full
# disk. The program is run as a person or a script runs it, on the tiny model of the tree.
set -u
muga=${MUGA_PROGRAM:?}
tiny=tests/data/tiny.gguf
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bad=0

# check NAME EXPECTED_CODE PATTERN COMMAND...: the command's exit code, and a pattern in its stdout or stderr.
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
broken() {
    bad=$((bad + 1))
    echo "not ok: $1"
}
quiet_stdout() { [ ! -s "$work/out" ] || broken "$1: an error belongs on stderr"; }

check "no verb" 2 "usage: muga" "$muga"
quiet_stdout "no verb"
check "help" 0 "muga VERB" "$muga" help
check "help run" 0 "--temp" "$muga" help run
check "help debug tokens" 0 "usage: muga debug tokens" "$muga" help debug tokens
check "help agent" 0 "test NAME" "$muga" help agent
check "help agent test" 0 "usage: muga agent test NAME" "$muga" help agent test
check "agent test --help" 0 "--tasks FILE" "$muga" agent test --help
check "no verb below" 2 "usage: muga audit" "$muga" audit
check "unknown verb below" 2 "muga help audit" "$muga" audit frobnicate
check "version" 0 "^muga [0-9]" "$muga" version
check "version of what" 2 "unexpected" "$muga" version 2
check "unknown verb" 2 "unknown verb" "$muga" frobnicate
check "unknown option" 2 "unknown option" "$muga" run tiny --frobnicate
check "missing value" 2 "needs a value" "$muga" run tiny --temp
check "bad number" 2 "needs a number" "$muga" run tiny --temp warm
check "negative count" 2 "whole number" "$muga" run tiny -n -5
check "huge count" 2 "whole number" "$muga" run tiny -n 99999999999
check "nan" 2 "needs a number" "$muga" run tiny --temp nan
check "infinity" 2 "needs a number" "$muga" run tiny --temp 1e999
check "out of range" 2 "out of range" "$muga" run "./$tiny" --top-p 7 hello
check "missing model argument" 2 "missing" "$muga" run
check "missing argument is named" 2 "missing in 'muga approve yes ID'" "$muga" approve yes
check "no session to resume" 2 "missing in 'muga session resume ID" "$muga" session resume
[ "$(wc -l <"$work/err")" -eq 1 ] || broken "no session to resume is said once"
check "missing second argument is named" 2 "an argument is missing in 'muga cp FROM TO'" "$muga" cp a
check "unknown model" 3 "no model" "$muga" run nosuch hello
quiet_stdout "unknown model"
check "missing file" 3 "no such file" "$muga" run ./nosuch.gguf hello
check "hostile name" 2 "no model name" "$muga" show '..:..'
check "folder as model" 4 "not a regular file" "$muga" run ./tests hello
check "device as model" 4 "not a regular file" "$muga" show /dev/null
check "text as model" 4 "README.md" "$muga" show ./README.md
head -c 5000 "$tiny" >"$work/cut.gguf"
check "truncated model" 4 "cut.gguf" "$muga" run "$work/cut.gguf" hello
check "empty prompt" 4 "prompt is empty" "$muga" run "./$tiny"
check "list an empty store" 0 "NAME" "$muga" list
check "list --json" 0 '^\[\]$' "$muga" list --json
check "show" 0 "architecture *llama" "$muga" show "./$tiny"
check "show --json" 0 '"architecture":"llama"' "$muga" show "./$tiny" --json
check "show --template" 0 "im_start" "$muga" show "./$tiny" --template
LC_ALL=C sed 's/tokenizer\.chat_template/tokenizer.chat_templatX/' "$tiny" >"$work/plain.gguf"
check "show without a template" 0 "fallback_template *chatml" "$muga" show "$work/plain.gguf"
check "its form" 0 "im_start" "$muga" show "$work/plain.gguf" --template
check "run without a template" 0 "no chat template; the chatml form" "$muga" run "$work/plain.gguf" hello -n 2
mkdir -p "$MUGA_HOME/manifests/cut" && echo '{' >"$MUGA_HOME/manifests/cut/latest"
check "list with a damaged manifest" 0 "cut:latest *damaged" "$muga" list
check "run a damaged manifest" 4 "cut/latest names no blob; .*muga rm cut:latest" "$muga" run cut hello
check "doctor names it" 1 "BAD *model .*muga rm cut:latest" "$muga" doctor
check "rm a damaged manifest" 0 "removed cut" "$muga" rm cut
check "rm a path" 2 "takes a name" "$muga" rm "./$tiny"
check "rm unknown" 3 "no model" "$muga" rm nosuch
check "run" 0 "" "$muga" run "./$tiny" hello -n 4 --temp 0
check "prompt beyond the context" 4 "context" "$muga" run "./$tiny" --ctx 64 "$(yes word | head -n 400 | tr '\n' ' ')"
check "perplexity" 0 "^perplexity  *[0-9]" "$muga" perplexity "./$tiny" README.md --chunks 1
check "perplexity --kl of itself" 0 "same top  *100.00 %" \
    "$muga" perplexity "./$tiny" README.md --chunks 1 --kl "./$tiny"
check "perplexity --json" 0 '"perplexity":[0-9.]*,.*"windows":2,"window_tokens":64' \
    "$muga" perplexity "./$tiny" README.md --chunks 2 --ctx 64 --json
check "perplexity of no file" 3 "nosuch.txt" "$muga" perplexity "./$tiny" nosuch.txt
check "perplexity of a folder" 4 "not a regular file" "$muga" perplexity "./$tiny" tests
check "perplexity without a file" 2 "missing" "$muga" perplexity "./$tiny"
check "perplexity beyond the context" 4 "trained for" "$muga" perplexity "./$tiny" README.md --ctx 99999
check "perplexity of one token" 2 "window of 1" "$muga" perplexity "./$tiny" README.md --ctx 1
printf a >"$work/one.txt"
check "perplexity of a text too short" 4 "at least two" "$muga" perplexity "./$tiny" "$work/one.txt"
check "doctor" 0 "processor" "$muga" doctor

# A pipe that closes early, and a disk that is full.
"$muga" help 2>"$work/err" | true
[ ! -s "$work/err" ] || broken "a closed pipe is no message"
if [ -e /dev/full ]; then
    "$muga" help >/dev/full 2>"$work/err"
    [ $? -eq 6 ] && grep -q "could not be written" "$work/err" || broken "a full disk is exit 6"
fi

# A limit on the size of files: one line says so, and what was there is whole.
(ulimit -f 64 && MUGA_HOME=$work/small exec "$muga" key create --name a) >"$work/out" 2>"$work/err"
[ $? -eq 6 ] && [ "$(wc -l <"$work/err")" -eq 1 ] && ! grep -q Success "$work/err" ||
    broken "a limit on files: $(cat "$work/err")"
MUGA_HOME=$work/small "$muga" audit verify >"$work/out" 2>&1 || broken "after a limit on files: $(cat "$work/out")"

# JSON lines: one out per line in; a bad line is answered and the run goes on.
printf '%s\n' '{"text": "hello"}' 'not json' '' '{"text_hex": "zz"}' '{"text": "a"}' >"$work/in"
"$muga" debug tokens "./$tiny" <"$work/in" >"$work/out"
[ "$(wc -l <"$work/out")" -eq 5 ] && [ "$(grep -c '"error"' "$work/out")" -eq 3 ] ||
    broken "debug tokens: $(cat "$work/out")"
printf '%s\n' '{"x": 1}' '{"x": null}' >"$work/in"
printf '{{ x + 1 }}' >"$work/t.jinja"
"$muga" debug template "$work/t.jinja" <"$work/in" >"$work/out"
[ "$(sed -n 1p "$work/out")" = '{"output":"2"}' ] && sed -n 2p "$work/out" | grep -q error ||
    broken "debug template: $(cat "$work/out")"

check "a broken template" 4 "b.jinja: template line 1" sh -c 'printf "{{" >"$1" && "$2" debug template "$1"' sh \
    "$work/b.jinja" "$muga"

# Logits go straight to what is no regular file: a pipe, a FIFO, and standard output wherever it leads. It is a
# link of our own: were /dev/stdout renamed over, it would be gone for everyone.
ln -s /proc/self/fd/1 "$work/stdout"
"$muga" debug logits "./$tiny" --ids 1,2 -o "$work/logits" || broken "logits to a file"
"$muga" debug logits "./$tiny" --ids 1,2 -o "$work/stdout" | cmp -s - "$work/logits" || broken "logits to a pipe"
"$muga" debug logits "./$tiny" --ids 1,2 -o "$work/stdout" >"$work/to" || broken "logits to redirected stdout"
cmp -s "$work/to" "$work/logits" || broken "logits to redirected stdout are the same"
mkfifo "$work/fifo"
cat "$work/fifo" >"$work/to" &
"$muga" debug logits "./$tiny" --ids 1,2 -o "$work/fifo" || broken "logits to a FIFO"
wait
cmp -s "$work/to" "$work/logits" || broken "logits to a FIFO are the same"

[ "$bad" -eq 0 ] && echo "all verbs as expected"
exit "$((bad > 0))"
