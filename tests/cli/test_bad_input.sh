#!/bin/sh
# Would break: what muga says and leaves behind when its input is wrong: a damaged model, a manifest that means
# something else, a tool that misbehaves, a store that is locked, foreign, read-only or full, a record that was edited.
# Each failure must be one line on stderr that names the thing and the remedy, its exit code, and nothing half done.
set -u
muga=${MUGA_PROGRAM:?}
tiny=$PWD/tests/data/tiny.gguf
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bad=0
unset XDG_DATA_HOME

broken() {
    bad=$((bad + 1))
    echo "not ok: $1"
    sed 's/^/    /' "$work/out" "$work/err" | head -n 20
}

# play CODE COMMAND...: run it; false when the code is another. Progress is no message.
play() {
    code=$1
    shift
    timeout 60 "$@" >"$work/out" 2>"$work/raw" </dev/null
    got=$?
    grep -av '^[a-z]* [0-9]* %$' "$work/raw" >"$work/err"
    [ "$got" -eq "$code" ]
}
# fails NAME CODE PATTERN COMMAND...: nothing on stdout, and one line on stderr that fits.
fails() {
    name=$1 expected=$2 pattern=$3
    shift 3
    play "$expected" "$@" && [ ! -s "$work/out" ] && [ "$(wc -l <"$work/err")" -eq 1 ] &&
        grep -aqe "^muga: .*$pattern" "$work/err" ||
        broken "$name: exit $got, expected $expected and one line with \"$pattern\""
}
# works NAME CODE PATTERN COMMAND...: the pattern is on stdout, and stderr is silent.
works() {
    name=$1 expected=$2 pattern=$3
    shift 3
    play "$expected" "$@" && [ ! -s "$work/err" ] && grep -aqe "$pattern" "$work/out" ||
        broken "$name: exit $got, expected $expected and \"$pattern\""
}
# A disk with so many bytes left for each file: `python3 limited BYTES COMMAND...`; what is printed goes through pipes.
cat >"$work/limited" <<'PY'
import resource, subprocess, sys
most = int(sys.argv[1])
def limit(): resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
r = subprocess.run(sys.argv[2:], capture_output=True, preexec_fn=limit)
sys.stdout.buffer.write(r.stdout)
sys.stderr.buffer.write(r.stderr)
sys.exit(128 - r.returncode if r.returncode < 0 else r.returncode)
PY
same() { [ "$2" = "$3" ] || { : >"$work/out" && echo "$2 instead of $3" >"$work/err" && broken "$1"; }; }
count() {
    python3 -c 'import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchone()[0])' "$1" "$2"
}
change() { python3 -c 'import sqlite3, sys; sqlite3.connect(sys.argv[1]).executescript(sys.argv[2])' "$1" "$2"; }

# ---- models ----

cat >"$work/patch.py" <<'PY'
import struct, sys
source, target, how = sys.argv[1:4]
d = bytearray(open(source, 'rb').read())
def put(at, new): d[at:at + len(new)] = new
def value_of(key): return d.index(key.encode()) + len(key) + 4           # past its type
def text_of(key): return value_of(key) + 8                               # past its length
def tensor(name): return d.index(name.encode()) + len(name)              # n_dims, dims, type, offset
if how == 'magic': put(0, b'GGML')
elif how == 'version': put(4, struct.pack('<I', 9))
elif how == 'big-endian': put(4, struct.pack('>I', 3))
elif how == 'count': put(8, struct.pack('<Q', 1 << 60))
elif how == 'architecture': put(text_of('general.architecture'), b'klama')
elif how == 'tokenizer': put(text_of('tokenizer.ggml.model'), b'gptX')
elif how == 'pre': put(text_of('tokenizer.ggml.pre'), b'smoxxx')
elif how == 'heads': put(value_of('llama.attention.head_count'), struct.pack('<I', 0))
elif how == 'template': put(d.index(b'{%'), b'{{')
elif how == 'tensor': put(d.index(b'blk.0.attn_q.weight'), b'blk.0.attn_x.weight')
elif how == 'shape': put(tensor('blk.0.attn_q.weight') + 4, struct.pack('<Q', 32))
elif how.startswith('type'):
    at = tensor('blk.1.attn_v.weight')
    n = struct.unpack('<I', d[at:at + 4])[0]
    put(at + 4 + 8 * n, struct.pack('<I', int(how[4:])))
else: sys.exit('what?')
open(target, 'wb').write(d)
PY
model() {
    python3 "$work/patch.py" "$tiny" "$work/bad.gguf" "$1" || broken "patching: $1"
    fails "model: $1" 4 "bad.gguf.*$2" "$muga" run "$work/bad.gguf" hello -n 2 --temp 0
}
model magic 'not a GGUF file.*give a GGUF model'
model version 'version 9.*convert'
model big-endian 'big-endian.*convert'
model count 'damaged or cut short: fetch it again'
model architecture 'architecture "klama" is not supported; this version knows: .*llama'
model tokenizer '"gptX" is not supported'
[ "$(grep -o 'bad\.gguf' "$work/err" | wc -l)" -eq 1 ] || broken "the file is named once"
model pre '"smoxxx".*not known'
model heads '"llama.attention.head_count" is 0'
model tensor '"blk.0.attn_q.weight" is missing'
model shape '"blk.0.attn_q.weight" is 32 x 64'
model type99 '"blk.1.attn_v.weight".*unknown type 99.*another quantisation'
model type25 '"blk.1.attn_v.weight" has type I16.*convert the model'
python3 "$work/patch.py" "$tiny" "$work/bad.gguf" template
fails "model: template" 4 "chat template.*line 1" "$muga" run "$work/bad.gguf" hello -n 2
for n in 0 3 4 23 100 3000 10000 100000 136319; do
    head -c "$n" "$tiny" >"$work/cut.gguf"
    fails "model cut at $n" 4 "cut.gguf: .*\(fetch it again\|give a GGUF model\)" "$muga" run "$work/cut.gguf" hello
done

# ---- ids, contexts, where logits go ----

logits() { fails "logits: $1" "$2" "$3" "$muga" debug logits "$tiny" --ids "$4" -o "$work/logits.f32"; }
logits negative 4 'id -1 at position 0.*vocabulary of 416' -1
logits "past the vocabulary" 4 'id 416 at position 1' 1,416
logits huge 2 'whole numbers' 99999999999999999999
for ids in x 1,x 1,,2 1, , ' 1' 1.5 0x1; do logits "ids '$ids'" 2 'whole numbers' "$ids"; done
logits "no ids" 2 'needs --ids' ''
to="$work/logits.f32"
fails "logits beyond the context" 4 "3 tokens.*context of 2" "$muga" debug logits "$tiny" --ids 1,2,3 --ctx 2 -o "$to"
fails "context beyond the model's" 4 "4096 tokens.*2048" "$muga" debug logits "$tiny" --ids 1 --ctx 4096 -o "$to"
fails "the same of run" 4 "4096 tokens.*2048" "$muga" run "$tiny" --ctx 4096 hello
fails "a draft model that isn't there" 3 "no-such-model" "$muga" run "$tiny" --draft no-such-model hello
LC_ALL=C sed 's/<|im_end|>/<|im_End|>/' "$tiny" >"$work/renamed.gguf"
fails "a draft model of another vocabulary" 4 "renamed.gguf: token 2 is \"<|im_End|>\".*same vocabulary" \
    "$muga" run "$tiny" --draft "$work/renamed.gguf" hello
fails "logits nowhere" 2 "needs -o" "$muga" debug logits "$tiny" --ids 1
fails "logits to an empty name" 2 "needs -o" "$muga" debug logits "$tiny" --ids 1 -o ''
fails "logits to a folder" 4 "directory" "$muga" debug logits "$tiny" --ids 1 -o "$work"
fails "logits into no folder" 3 "nosuch.*check the path" "$muga" debug logits "$tiny" --ids 1 -o "$work/nosuch/x"
[ ! -e /dev/full ] ||
    fails "logits to a full disk" 6 "free disk space" "$muga" debug logits "$tiny" --ids 1 -o /dev/full
fails "another set" 2 "ref, avx2, avx-vnni, avx512 or neon" "$muga" debug logits "$tiny" --ids 1 --isa mmx -o "$to"
case $(uname -m) in
x86_64) fails "neon on x86" 2 "neon isn't there" "$muga" debug logits "$tiny" --ids 1 --isa neon -o "$to" ;;
aarch64) fails "avx2 on arm" 2 "avx2 isn't there" "$muga" debug logits "$tiny" --ids 1 --isa avx2 -o "$to" ;;
esac
fails "logits past the limit of files" 6 "logits.f32" \
    python3 "$work/limited" 1000 "$muga" debug logits "$tiny" --ids 1 -o "$to"
same "failed logits leave no file" "$(ls "$work" | grep -c logits)" 0

# ---- streams, lines, characters ----

fails "text that is not UTF-8" 4 "not valid UTF-8; convert it" "$muga" run "$tiny" "$(printf 'a\377b')"
fails "a name that drives a terminal" 2 'x\\u001b\[31m\\u000ay' "$muga" run "$(printf 'x\033[31m\ny')" hello
fails "an option that does" 2 'unknown option' "$muga" list "$(printf -- '--\033\n')"
fails "an unknown subcommand" 2 "unknown subcommand" "$muga" audit frobnicate
# closed NAME CODE PATTERN COMMAND: run by sh, so that it can close what it likes.
closed() {
    sh -c "$4" 2>"$work/raw"
    got=$?
    : >"$work/out"
    grep -av '^[a-z]* [0-9]* %$' "$work/raw" >"$work/err"
    [ "$got" -eq "$2" ] && { [ -z "$3" ] || grep -qe "$3" "$work/err"; } || broken "$1: exit $got"
}
export muga tiny work
closed "no stdout" 6 "could not be written" '"$muga" list >&-'
closed "no stdout for an answer" 6 "could not be written" '"$muga" run "$tiny" hello -n 2 >&-'
closed "no stdin for a prompt" 6 "standard input could not be read" '"$muga" run "$tiny" <&- >"$work/out"'
closed "no stdin for lines" 6 "standard input could not be read" '"$muga" debug tokens "$tiny" <&- >"$work/out"'
closed "a folder as stdin" 6 "standard input could not be read" '"$muga" debug tokens "$tiny" <"$work" >"$work/out"'
closed "no stream at all" 6 "" '"$muga" run "$tiny" hello -n 2 <&- >&- 2>&-'
# What was opened must not have taken a closed stream's number: then the answer would stand in the logits.
closed "logits without streams" 0 "" '"$muga" debug logits "$tiny" --ids 1 -o "$work/l.f32" <&- >&- 2>&-'
same "logits without streams" "$(wc -c <"$work/l.f32")" "$((416 * 4))"

python3 - >"$work/lines" <<'PY'
import json
print(json.dumps({"text": "a b " * 2500000}))
print('[' * 1000000)
print('{"text":' * 1000000)
print('{"text": "' + 'a' * 1000000)
print('{"text": "\\ud800"}')
print('[]')
print('{"text": "ok"}', end='')
PY
printf '\n{"text": "\377"}\n{"text": "ok"}\n' >>"$work/lines"
"$muga" debug tokens "$tiny" <"$work/lines" >"$work/out" 2>"$work/err"
same "long, deep and wrong lines: code" $? 0
same "long, deep and wrong lines: one out per line in" \
    "$(cut -c1-8 "$work/out" | tr '\n' ' ' | sed 's/\[[0-9,]*\]*/ids/g')" \
    'ids {"error" {"error" {"error" {"error" {"error" ids {"error" ids '
[ "$(sed -n 1p "$work/out" | tr -cd , | wc -c)" -gt 4000000 ] || broken "a line of 10 MB is encoded whole"
printf '#!/bin/sh\nhead -c 10000000 /dev/zero | tr "\\0" a | exec "%s" run "%s"\n' "$muga" "$tiny" >"$work/long_prompt"
chmod +x "$work/long_prompt"
fails "a prompt of 10 MB" 4 "messages hold 1000000[0-9] bytes of text; at most 4194304 .*shorten" "$work/long_prompt"
printf '\377' >"$work/t.jinja"
fails "a template that is not text" 4 "t.jinja.*not UTF-8" "$muga" debug template "$work/t.jinja"

# ---- an agent ----

export MUGA_HOME="$work/home"
mkdir "$work/a"
cat >"$work/a/agent.yaml" <<'YAML'
version: 1
agent: bad-shop
description: An agent for bad input.
kind: goal
model: tiny
session: {customer: {type: integer}}
state:
  resolution: {type: [string, "null"], default: null}
  pending: {type: [string, "null"], default: null}
goal: {statement: Help., done: "state.resolution is not none"}
tools:
  - name: quote
    description: Ask a program.
    parameters: {type: object, properties: {}, additionalProperties: false}
    command: [./tool]
    unsandboxed: true
    effect: read
    timeout_ms: 500
    max_result_bytes: 1000
  - name: reset
    description: Reset the password.
    parameters: {type: object, properties: {}, additionalProperties: false}
    sql: {database: shop.db, exec: "INSERT INTO resets(customer) VALUES (:session_customer)"}
    effect: write
    approval: always
escalation: {to: human, when: [tool_failed]}
limits: {steps: 8, tokens: 8192, seconds: 60, approval_seconds: 3600}
intent:
  examples: examples.jsonl
  neighbours: 1
  floor: 0
  margin: 0
  model_weight: 0.1
  instruction: "Sort."
  labels:
    quote: {about: a quote, tool: quote, answer: "Quote: {{ result }}"}
    reset: {about: password, tool: reset, answer: "Done.", held: "Wait.", denied: "No."}
  unsure: What?
  failed: That failed.
YAML
echo 'CREATE TABLE resets(customer INTEGER);' >"$work/a/shop.sql"
printf '%s\n' '{"text": "give me a quote", "labels": ["quote"]}' '{"text": "reset my password", "labels": ["reset"]}' \
    >"$work/a/examples.jsonl"
tool() { printf '#!/bin/sh\n%s\n' "$1" >"$work/a/tool" && chmod +x "$work/a/tool"; }
tool 'echo 42'
db=$MUGA_HOME/muga.db
shop=$MUGA_HOME/data/a/shop.db
printf '#!/bin/sh\nexec "$muga" agent run "$work/a" --model "$tiny" -s customer=1 --approve none "$@"\n' >"$work/ask"
chmod +x "$work/ask"
agent() { works "$1" "$2" "$3" "$work/ask" -m "$4"; }

# manifest LINE PATTERN SED: the edited manifest is refused at its line, before anything is recorded.
manifest() {
    rm -rf "$work/b" "$work/home-b"
    cp -r "$work/a" "$work/b"
    sed -i "$3" "$work/b/agent.yaml"
    ! cmp -s "$work/a/agent.yaml" "$work/b/agent.yaml" || broken "manifest: $3 changes nothing"
    fails "manifest: $3" 4 "agent.yaml:$1:[0-9]*: .*$2" \
        env "MUGA_HOME=$work/home-b" "$muga" agent run "$work/b" --model "$tiny" -s customer=1 -m hello
    [ ! -e "$work/home-b/muga.db" ] || broken "manifest: $3: nothing is recorded"
}
parameters() { manifest 22 "$1" "22s/{}/{x: $2}/"; }
manifest 4 "kin: unknown key; did you mean 'kind'" 's/^kind:/kin:/'
manifest 18 'tools\[0\].timeout: unknown key' 's/timeout_ms/timeout/'
manifest 18 'tools\[0\].timeout_ms: text; must be a whole number' 's/timeout_ms: 500/timeout_ms: soon/'
manifest 18 'tools\[0\].timeout_ms' 's/timeout_ms: 500/timeout_ms: -1/'
manifest 1 'version' 's/^version: 1/version: 2/'
manifest 24 "'wirte' is none of read, write" 's/effect: write/effect: wirte/'
manifest 26 "'tool_faled'.*did you mean 'tool_failed'" 's/tool_failed/tool_faled/'
manifest 16 'sandbox.network: .*false' 's/unsandboxed: true/sandbox: {network: true}/'
manifest 16 'must be true or false' 's/unsandboxed: true/unsandboxed: maybe/'
manifest 22 'additionalProperties: false' '22s/, additionalProperties: false//'
parameters '"minLength" must be a whole number' '{type: string, minLength: -1}'
parameters '"pattern".*a group is not closed' '{type: string, pattern: "(a"}'
parameters '"type" names no JSON type' '{type: strin}'
parameters 'leads to no schema' '{$ref: "http:\/\/x\/y"}'
manifest 23 'syntax error' '23s/INSERT/INSRET/'
manifest 23 ':customr is neither' '23s/:session_customer/:customr/'
manifest 23 'not authorized' '23s/INSERT.*)/DROP TABLE resets/'
manifest 23 "must lie in the agent's folder" '23s/shop.db/..\/shop.db/'
manifest 10 'goal.done' '10s/ none/ /'
manifest 40 'stands here twice' '$s/$/\nagent: again/'
manifest 5 'anchors' '5s/tiny/\&x tiny/'
manifest 5 'tab' '5s/^/\t/'
manifest 27 '64 bits' 's/seconds: 60/seconds: 99999999999999999999/'
manifest 36 'labels.quote.tool: no such tool' 's/tool: quote,/tool: quot,/'
manifest 36 'labels.quote.answer: template line 1' 's/{{ result }}/{{ result /'
manifest 36 'labels.quote: needs answer' '36s/, answer: .*/}/'
manifest 37 'labels.reset.biass: unknown key' '37s/held/biass/'
manifest 31 'intent.floor' 's/floor: 0/floor: low/'
# The agent's own databases are made whole or not at all.
printf 'CREATE TABLE x(a);\nSELEC 1;\n' >"$work/a/other.sql"
fails "a script that fails" 4 'other.sql: near "SELEC"' \
    "$muga" agent run "$work/a" --model "$tiny" -s customer=1 -m hello
same "a script that fails leaves nothing" "$(find "$MUGA_HOME" -name 'other.*' | wc -l)" 0
rm "$work/a/other.sql"
fails "session: a wrong value" 4 'session.*expected integer' \
    "$muga" agent run "$work/a" --model "$tiny" -s customer=x -m hello
fails "session: a missing value" 4 '"customer" is missing' "$muga" agent run "$work/a" --model "$tiny" -m hello
fails "session: an unknown value" 4 '/foo' "$muga" agent run "$work/a" --model "$tiny" -s customer=1 -s foo=1 -m hello
fails "resuming nothing" 3 "session nosuch" "$muga" agent run "$work/a" --model "$tiny" --resume nosuch
fails "no such model" 3 "no model 'nosuch" "$muga" agent run "$work/a" --model nosuch -s customer=1 -m hello
closed "no stdin for messages" 6 "standard input could not be read" \
    '"$muga" agent run "$work/a" --model "$tiny" -s customer=1 <&- >"$work/out"'

# A tool that does not keep to the rules fails, and says how; the person is handed over.
agent "a tool" 0 'Quote: 42' "give me a quote"
misbehaves() {
    tool "$2" && agent "$1" 0 "failed .*$3" "give me a quote" && { grep -q 'escalate' "$work/out" || broken "$1"; }
}
misbehaves "a tool that hangs" 'sleep 1000' 'stopped after 500 ms'
misbehaves "a tool that prints garbage" 'head -c 500 /dev/urandom' 'not text'
misbehaves "a tool that prints 1 GB" 'exec head -c 1000000000 /dev/zero' 'more than 1000 bytes'
misbehaves "a tool that complains for 1 GB" 'head -c 1000000000 /dev/zero >&2; exit 3' 'error'
misbehaves "a tool that fails" 'echo no such thing >&2; exit 3' 'code 3: no such thing'
misbehaves "a tool that is killed" 'kill -9 $$' 'signal 9'
tool 'sleep 1000 & echo $!'
agent "a tool that leaves a child" 0 'Quote: [0-9]' "give me a quote"
child=$(sed -n 's/.*Quote: //p' "$work/out")
for _ in 1 2 3 4 5 6 7 8 9 10; do # ended, or ended and not yet waited for
    grep -q '^State:.[^Z]' "/proc/$child/status" 2>/dev/null || break
    sleep 0.1
done
[ -n "$child" ] && ! grep -q '^State:.[^Z]' "/proc/$child/status" 2>/dev/null ||
    broken "the child of a tool ends with it"
chmod -x "$work/a/tool"
agent "a tool without the right to run" 0 'failed .*Permission denied' "give me a quote"
mv "$work/a/tool" "$work/a/elsewhere"
fails "a tool that is gone" 3 'agent.yaml:15:[0-9]*: .*tool' "$work/ask" -m "give me a quote"
mv "$work/a/elsewhere" "$work/a/tool"
tool 'echo 42'

# ---- approvals ----

held() { "$work/ask" -m "reset my password" >"$work/out" 2>"$work/err"; "$muga" approve list | sed -n '1s/ .*//p'; }
id=$(held)
same "nothing runs while it is held" "$(count "$shop" 'SELECT count(*) FROM resets')" 0
fails "an unknown approval" 3 "approve list" "$muga" approve yes 0000-0000
fails "an empty id" 3 "approve list" "$muga" approve yes ''
fails "an id of other bytes" 3 "approve list" "$muga" approve no "$(printf '\377\n')"
change "$db" "UPDATE approvals SET expires_ms = 1"
fails "an id whose row was changed" 5 "$id" "$muga" approve yes "$id"
same "and it ran nothing" "$(count "$shop" 'SELECT count(*) FROM resets')" 0
rm -rf "$MUGA_HOME"
sed -i 's/approval_seconds: 3600/approval_seconds: 1/' "$work/a/agent.yaml"
id=$(held)
sleep 1.2
fails "an expired id" 5 "expired" "$muga" approve yes "$id"
same "it ran nothing either" "$(count "$shop" 'SELECT count(*) FROM resets')" 0
sed -i 's/approval_seconds: 1/approval_seconds: 3600/' "$work/a/agent.yaml"
rm -rf "$MUGA_HOME"
(cd "$work" && "$muga" agent run ./a --model "$tiny" -s customer=1 -m "reset my password" >/dev/null 2>&1)
id=$("$muga" approve list | sed -n '1s/ .*//p')
works "a yes from another folder" 0 "approved; reset finished" "$muga" approve yes "$id"
fails "a used id" 5 "$id was already used" "$muga" approve yes "$id"
fails "a no after the yes" 5 "$id was already used" "$muga" approve no "$id"
same "it ran once" "$(count "$shop" 'SELECT count(*) FROM resets')" 1
id=$(held)
works "a no" 0 "will not run" "$muga" approve no "$id"
fails "a yes after the no" 5 "$id was already denied" "$muga" approve yes "$id"
same "it still ran once" "$(count "$shop" 'SELECT count(*) FROM resets')" 1

# ---- the record ----

works "the chain" 0 "chain whole" "$muga" audit verify
works "its replay" 0 "every one the same to the bit" "$muga" audit replay
cp -r "$MUGA_HOME" "$work/whole"
restore() { rm -rf "$MUGA_HOME" && cp -r "$work/whole" "$MUGA_HOME"; }
cat >"$work/edit.py" <<'PY'
# edit.py DB flip N: one bit of record N's payload, in the file itself.
# edit.py DB forge: change a decision's logits digest, and make the chain fit again.
import hashlib, json, sqlite3, sys
db = sqlite3.connect(sys.argv[1])
if sys.argv[2] == 'flip':
    payload = db.execute('SELECT payload FROM audit_payload WHERE n = ?', (sys.argv[3],)).fetchone()[0].encode()
    db.execute('PRAGMA wal_checkpoint(TRUNCATE)')
    db.close()
    raw = bytearray(open(sys.argv[1], 'rb').read())
    at = raw.find(payload)
    assert at >= 0
    while at >= 0:  # a page no longer in use may hold a second copy
        raw[at + len(payload) // 2] ^= 1
        at = raw.find(payload, at)
    open(sys.argv[1], 'wb').write(raw)
    sys.exit()
db.executescript('DROP TRIGGER audit_update')
forged, prev = False, '0' * 64
rows = db.execute('SELECT a.n, body, salt, payload FROM audit a JOIN audit_payload p ON p.n = a.n ORDER BY a.n')
for n, body, salt, payload in rows.fetchall():
    value = json.loads(payload)
    if not forged and 'evidence' in value:
        digest = value['evidence']['logits_sha256']
        new = ('1' if digest[0] == '0' else '0') + digest[1:]
        payload, forged = payload.replace(digest, new), n
    body = json.loads(body)
    body['payload'] = hashlib.sha256(salt + payload.encode()).hexdigest()
    body['prev'] = prev
    text = json.dumps(body, sort_keys=True, separators=(',', ':'))
    prev = hashlib.sha256(text.encode()).hexdigest()
    db.execute('UPDATE audit SET body = ?, hash = ? WHERE n = ?', (text, bytes.fromhex(prev), n))
    db.execute('UPDATE audit_payload SET payload = ? WHERE n = ?', (payload, n))
db.execute('UPDATE audit_head SET hash = ?', (bytes.fromhex(prev),))
db.commit()
print(forged)
PY
for n in 1 4 9; do
    restore
    python3 "$work/edit.py" "$db" flip "$n" || broken "flipping"
    fails "one bit of record $n" 1 "muga.db: audit record $n: its payload was changed" "$muga" audit verify
    fails "its replay" 1 "audit record $n: " "$muga" audit replay
done
restore
kept=$("$muga" audit verify | sed -n 's/^head //p')
forged=$(python3 "$work/edit.py" "$db" forge)
works "a forged chain is whole" 0 "chain whole" "$muga" audit verify
fails "but not with the head that was kept" 1 "no record has the head" "$muga" audit verify --head "$kept"
fails "and its replay finds the record" 1 "audit record $forged: .*logits" "$muga" audit replay
restore
fails "a session that isn't there" 3 "no session 'nosuch'" "$muga" audit replay --session nosuch
fails "nor in the log" 3 "no session 'nosuch'" "$muga" audit log --session nosuch
change "$db" 'DELETE FROM audit_head'
fails "a chain without its head" 1 "audit record [0-9]*: .*lost its head" "$muga" audit verify
restore
change "$db" 'DROP TRIGGER audit_delete; DELETE FROM audit_payload WHERE n = 5; DELETE FROM audit WHERE n = 5'
fails "a record that was taken out" 1 "audit record 5: missing" "$muga" audit verify
python3 - "$work/whole/muga.db" "$work" <<'PY' || broken "preparing flips"
import random, sys
raw, random = open(sys.argv[1], 'rb').read(), random.Random(7)
for i in range(24):
    d = bytearray(raw)
    d[random.randrange(len(d))] ^= 1 << random.randrange(8)
    open(f'{sys.argv[2]}/flip{i}', 'wb').write(d)
PY
for i in $(seq 0 23); do
    restore
    cp "$work/flip$i" "$db"
    timeout 20 "$muga" audit verify >"$work/out" 2>"$work/err"
    got=$?
    case $got in
    0) [ ! -s "$work/err" ] || broken "flip $i: whole, and yet a message" ;;
    1 | 6) [ "$(wc -l <"$work/err")" -eq 1 ] || broken "flip $i: one line" ;;
    *) broken "flip $i: exit $got" ;;
    esac
done

# ---- the store ----

unusable() { # NAME CODE PATTERN: both who reads it and who writes it say so, and nothing is touched
    before=$(cksum "$db" 2>&1)
    fails "$1: verify" "$2" "muga.db: $3" "$muga" audit verify
    fails "$1: run" "$2" "muga.db: $3" "$work/ask" -m "reset my password"
    same "$1: left as it was" "$(cksum "$db" 2>&1)" "$before"
}
restore && echo garbage >"$db" && unusable "a file of garbage" 6 "damaged or not a database; restore a copy"
restore && head -c 100000 /dev/urandom >"$db" && unusable "a file of noise" 6 "damaged or not a database"
restore && head -c 30000 "$work/whole/muga.db" >"$db" && unusable "a file cut short" 6 "damaged or not a database"
restore && change "$db" 'PRAGMA user_version = 999' && unusable "a newer store" 6 "written by a newer muga.*update"
restore && rm "$db" && change "$db" 'CREATE TABLE x(a)' &&
    unusable "another program's database" 6 "a database of another program"
rm -f "$db" && mkdir "$db" && unusable "a folder" 6 "can't be opened; check"
rm -rf "$MUGA_HOME" && echo >"$MUGA_HOME"
fails "a file as the store" 6 "home.*move it" "$work/ask" -m hello
fails "the same of list" 6 "home.*not a folder" "$muga" list
MUGA_HOME=$MUGA_HOME/below
fails "a store below a file" 6 "below can't be: .*home is not a folder" "$muga" list
MUGA_HOME=${MUGA_HOME%/below}
rm -f "$MUGA_HOME"
fails "no record yet" 3 "nothing has been recorded" "$muga" audit verify
[ ! -e "$MUGA_HOME" ] || broken "reading makes no store"
fails "a store where none can be" 3 "/proc/nosuch" \
    env MUGA_HOME=/proc/nosuch "$muga" agent run "$work/a" --model "$tiny" -m hello
works "and doctor says so" 1 "BAD *store .*/proc/nosuch" env MUGA_HOME=/proc/nosuch "$muga" doctor
fails "no home at all" 6 "set MUGA_HOME" env -u HOME -u MUGA_HOME "$muga" list
works "a model by its path needs none" 0 "^[0-9]" env -u HOME -u MUGA_HOME "$muga" debug greedy "$tiny" --ids 1 -n 2

restore
records=$(count "$db" 'SELECT count(*) FROM audit')
python3 - "$db" "$work/locked" <<'PY' &
import os, sqlite3, sys, time
db = sqlite3.connect(sys.argv[1])
db.execute('BEGIN IMMEDIATE')
open(sys.argv[2], 'w').close()
for _ in range(600):
    if not os.path.exists(sys.argv[2]): break
    time.sleep(0.1)
PY
locker=$!
while [ ! -e "$work/locked" ] && kill -0 "$locker" 2>/dev/null; do sleep 0.1; done
fails "a locked store" 6 "muga.db: locked by another program; wait" "$work/ask" -m "reset my password"
works "which can still be read" 0 "chain whole" "$muga" audit verify
rm -f "$work/locked"
wait "$locker"
same "a locked store got nothing" "$(count "$db" 'SELECT count(*) FROM audit')" "$records"

# Read-only: by its rights, or, since root writes everywhere, by a mount of its own where that may be made.
restore
readonly_says='read-only; give this user the right\|be opened; check that its folder'
readonly_says="$readonly_says\\|Permission denied\\|Read-only file system"
mount_it='mount --bind "$MUGA_HOME" "$MUGA_HOME" && mount -o remount,ro,bind "$MUGA_HOME"'
if [ "$(id -u)" -ne 0 ]; then
    chmod -R a-w "$MUGA_HOME"
    fails "a read-only store" 6 "$readonly_says" "$work/ask" -m "reset my password"
    chmod -R u+w "$MUGA_HOME"
elif unshare -m sh -c "$mount_it" 2>/dev/null; then
    fails "a read-only store" 6 "$readonly_says" \
        unshare -m sh -c "$mount_it && exec \"\$@\"" sh "$work/ask" -m "reset my password"
else
    echo "not tried: a read-only store (root writes everywhere, and may not mount here)"
fi
same "a read-only store is as it was" "$(count "$db" 'SELECT count(*) FROM audit')" "$records"

# A disk that fills up at any point: one line, the code, a whole chain, and after it all goes on.
filled=0
for kib in 0 1 4 16 32 64 80 96 112 128 160 192; do
    rm -rf "$MUGA_HOME"
    if ! play 5 python3 "$work/limited" "$((kib * 1024))" "$work/ask" -m "reset my password"; then
        filled=$((filled + 1))
        [ "$got" -eq 6 ] && [ "$(grep -ac '^muga: ' "$work/err")" -eq 1 ] || broken "a disk full at $kib KiB: exit $got"
    fi
    [ ! -e "$db" ] || works "a disk full at $kib KiB: the chain" 0 "chain whole" "$muga" audit verify
    play 5 "$work/ask" -m "reset my password" || broken "a disk full at $kib KiB: afterwards"
    [ "$(count "$shop" 'SELECT count(*) FROM resets')" -eq 0 ] || broken "a disk full at $kib KiB: nothing ran"
done
[ "$filled" -ge 3 ] || broken "the disk was never full"

# ---- tasks ----

restore
task='{"id": "t1", "session": {"customer": 1}, "messages": ["give me a quote"],'
task=$task' "expect": {"outcome": "answer", "calls": [{"tool": "quote"}]}}'
tasks() { # NAME PATTERN LINES...
    name=$1 pattern=$2
    shift 2
    printf '%s\n' "$@" >"$work/t.jsonl"
    fails "tasks: $name" 4 "t.jsonl$pattern" "$muga" agent test "$work/a" --model "$tiny" --tasks "$work/t.jsonl" --json
}
tasks "none" " holds no task" ""
tasks "not JSON" ":2: " "$task" "{"
tasks "cut in the middle" ":3: " "$task" "" "$(printf %.60s "$task")"
tasks "an array" ":2: .*expected object" "$task" "[]"
tasks "no messages" ':1: .*"messages" is missing' '{"id": "x", "expect": {}}'
tasks "a wrong type" ":1: .*/id.*expected string" '{"id": 1, "messages": ["a"], "expect": {}}'
tasks "no such outcome" ":1: .*/expect/outcome" '{"id": "x", "messages": ["a"], "expect": {"outcome": "win"}}'
tasks "a misspelt expectation" ":1: .*/expect/outcom" '{"id": "x", "messages": ["a"], "expect": {"outcom": "answer"}}'
tasks "no such approver" ":1: .*/approver" '{"id": "x", "approver": "maybe", "messages": ["a"], "expect": {}}'
tasks "no time" ":1: now: .*yesterday" '{"id": "x", "now": "yesterday", "messages": ["a"], "expect": {}}'
tasks "not UTF-8" ":2: .*UTF-8" "$task" "$(printf '{"id": "\377", "messages": ["a"], "expect": {}}')"
printf '%s\n' "$task" "$task" | sed '2s/"quote"}/"nosuch"}/' >"$work/t.jsonl"
works "tasks: an unknown tool" 0 '"completed":1,.*nosuch.* is no tool of bad-shop' \
    "$muga" agent test "$work/a" --model "$tiny" --tasks "$work/t.jsonl" --json
fails "tasks: no file" 3 "nosuch.jsonl" "$muga" agent test "$work/a" --model "$tiny" --tasks "$work/nosuch.jsonl"
fails "tasks: none of its own" 3 "name some with --tasks" "$muga" agent test "$work/a" --model "$tiny"
fails "tasks: no room for them" 6 "set TMPDIR" \
    env TMPDIR=/nosuch "$muga" agent test "$work/a" --model "$tiny" --tasks "$work/t.jsonl"

[ "$bad" -eq 0 ] && echo "all bad input as expected"
exit "$((bad > 0))"
