#!/bin/sh
# Would break: muga create makes something else than the Modelfile says, of something that is no model, or leaves half
# of one behind after wrong input, a full disk or a kill; a run doesn't honour what was set; removing one name takes
# what another needs.
set -u
muga=${MUGA_PROGRAM:?}
tiny=$(pwd)/tests/data/tiny.gguf
adapter=$(pwd)/experts/tools-generic/tools-generic.gguf
work=$(mktemp -d)
mounted=
trap '[ -z "$mounted" ] || umount "$mounted"; rm -rf "$work"' EXIT
. tests/support/says.sh
blobs() { find "$MUGA_HOME/blobs" -type f 2>/dev/null | wc -l; }
# write FILE TEXT: with its backslashes read
write() { printf "$2" >"$work/$1"; }
mkdir "$work/d"
cp "$tiny" "$work/d/tiny.gguf"

# ---- what it makes ----
cat >"$work/d/Modelfile" <<'END'
# a model
from ./tiny.gguf
PARAMETER temperature 0
parameter num_predict 3
PARAMETER stop "<|im_end|>"
PARAMETER stop "Q:"
SYSTEM """You mend bicycles.
Be short."""
MESSAGE user hello
MESSAGE assistant "hi "
LICENSE MIT
TEMPLATE """{% for m in messages %}<{{ m.role }}>{{ m.content }}
{% endfor %}"""
REQUIRES 0.14.0
END
says 0 "created shop:latest: [0-9a-f]\{12\}, " "$muga" create shop -f "$work/d/Modelfile"
says 0 '"name":"again:latest","digest":"[0-9a-f]\{64\}"' sh -c "cd '$work/d' && '$muga' create again --json"
says 0 "" "$muga" show shop --modelfile
cp "$work/stdout" "$work/back"
says 0 "created back:latest" "$muga" create back -f "$work/back"
digest() { "$muga" show "$1" --json | sed 's/.*"digest":"\([0-9a-f]*\)".*/\1/'; }
[ "$(digest shop)" = "$(digest back)" ] || fail "a Modelfile written back makes another model"
[ "$(digest shop)" = "$(digest again)" ] || fail "two of one Modelfile differ"
says 0 "You mend bicycles." "$muga" show shop --system
says 0 "^<{{ m.role }}>" sh -c "'$muga' show shop --template | sed 's/.*%}</</'"
says 0 "^MIT$" "$muga" show shop --license
says 0 "^stop  *\"Q:\"$" "$muga" show shop --parameters
says 0 "^temperature  *0.0$\|^temperature  *0$" "$muga" show shop --parameters
says 0 "^parameter  *num_predict 3$" "$muga" show shop
says 0 '"stored":{"name":"shop:latest"' "$muga" show shop --json
says 0 "^FROM $tiny$" "$muga" show "$tiny" --modelfile
says 2 "one of --modelfile" "$muga" show shop --system --license
says 0 "general.architecture = llama" "$muga" show shop -v

# from another: inherited, replaced, taken away
write child 'FROM shop\nPARAMETER temperature 0.5\nSYSTEM ""\nMESSAGE user only this\nLICENSE MIT\nLICENSE Other\n'
says 0 "created child" "$muga" create child -f "$work/child"
says 0 "^temperature  *0.5$" "$muga" show child --parameters
says 0 "^num_predict  *3$" "$muga" show child --parameters
"$muga" show child --system >"$work/stdout"
[ -s "$work/stdout" ] && fail "a system message that was taken away: $(cat "$work/stdout")"
says 0 '"license":\["MIT","Other"\],"messages":\[{"content":"only this","role":"user"}\]' "$muga" show child --json
says 0 '"parent":"shop:latest"' "$muga" show child --json
write self 'FROM child\nPARAMETER temperature 1\n'
says 0 "created child" "$muga" create child -f "$work/self"
says 0 "^temperature  *1.0$\|^temperature  *1$" "$muga" show child --parameters
says 0 "created plain" "$muga" create plain --from "$tiny"
says 0 "created piped" sh -c "printf 'FROM plain\n' | '$muga' create piped -f -"

# ---- what a run makes of it ----
says 0 "cut at -n 3 tokens" "$muga" run shop hello
says 0 "cut at -n 2 tokens" "$muga" run shop hello -n 2
says 4 "not one of its\|context\|trained for" "$muga" run shop --ctx 999999 hello
write small 'FROM shop\nPARAMETER num_ctx 64\nPARAMETER num_predict 1\n'
says 0 "created small" "$muga" create small -f "$work/small"
says 4 "context" "$muga" run small "$(yes word | head -n 100 | tr '\n' ' ')"
says 0 "" "$muga" run shop --format json --temp 0 -n 40 hello
case $(cat "$work/stdout") in '{'*'}') ;; *) fail "--format json: $(cat "$work/stdout")" ;; esac
echo '{"type": "boolean"}' >"$work/schema"
says 0 "^true$\|^false$" "$muga" run shop --format "$work/schema" hello
says 3 "nosuch" "$muga" run shop --format "$work/nosuch" hello
says 2 "for a server's model" "$muga" run shop --keepalive 5m hello
says 0 "" "$muga" run shop --think -n 2 hello
says 0 "" "$muga" run shop --think=false --hidethinking -n 2 hello
says 2 "on or off" "$muga" run shop --think=loud hello
if [ -f "${MUGA_TEST_MODEL:-}" ]; then # what the model sees: its answer is another one
    write real "FROM $MUGA_TEST_MODEL\nPARAMETER temperature 0\nPARAMETER num_predict 8\nPARAMETER stop .\n"
    says 0 "created real" "$muga" create real -f "$work/real"
    "$muga" run real "Say hello." >"$work/a" 2>/dev/null
    for line in 'SYSTEM You are a pirate who says arr.' 'TEMPLATE {{ messages[-1].content }}' \
        'MESSAGE user Write in French.'; do
        printf 'FROM real\n%s\n' "$line" >"$work/real2"
        says 0 "created real2" "$muga" create real2 -f "$work/real2"
        "$muga" run real2 "Say hello." >"$work/b" 2>/dev/null
        cmp -s "$work/a" "$work/b" && fail "a run doesn't honour: $line"
    done
    write tools "FROM real\nADAPTER $adapter:0.5\n"
    says 0 "created tools" "$muga" create tools -f "$work/tools"
    says 0 "^ADAPTER sha256:[0-9a-f]*:0.5$" "$muga" show tools --modelfile
    "$muga" run tools "Say hello." >"$work/b" 2>/dev/null
    "$muga" run real --adapter "$adapter:0.5" "Say hello." >"$work/c" 2>/dev/null
    cmp -s "$work/b" "$work/c" || fail "a stored adapter isn't the adapter"
    write two "FROM tools\nADAPTER $adapter\n"
    says 4 "has one already" "$muga" create two -f "$work/two"
    write q "FROM tools\n"
    says 4 "its weights are .* already" "$muga" create q -f "$work/q" -q Q8_0
    "$muga" rm real real2 tools >/dev/null
fi

says 6 "pull comes with the registry" "$muga" pull shop
says 6 "push comes with the registry" "$muga" push shop

# ---- cp, rm ----
says 0 "other is a copy of shop" "$muga" cp shop other
[ "$(digest shop)" = "$(digest other)" ] || fail "a copy is another model"
says 0 "door leads to shop" "$muga" cp --alias shop door
says 0 "leads_to  *shop:latest" "$muga" show door
says 0 "You mend bicycles." "$muga" show door --system
says 0 "cut at -n 3 tokens" "$muga" run door hello
says 4 "another name of itself" "$muga" cp --alias door shop
says 4 "is a model" "$muga" cp --alias shop other
says 3 "no model 'nosuch" "$muga" cp nosuch x
says 2 "no model name" "$muga" cp shop ../x
says 0 "removed shop" "$muga" rm shop
says 3 "'door:latest' is another name of 'shop:latest', which is not in the store" "$muga" run door hello
says 0 "door:latest  *damaged" "$muga" list
says 0 "You mend bicycles." "$muga" show other --system
says 3 "no model 'nosuch" "$muga" rm nosuch door back
says 0 "" "$muga" list
grep -q "door\|back" "$work/stdout" && fail "rm stops at the first that it can't remove"
says 0 "removed other" "$muga" rm other again child plain piped small
[ "$(blobs)" -eq 0 ] || fail "blobs that nobody has: $(ls "$MUGA_HOME/blobs")"

# ---- what is refused, and that nothing is left of it ----
refuse() { # CODE PATTERN MODELFILE [OPTION...]
    code=$1 pattern=$2
    write bad "$3"
    shift 3
    says "$code" "$pattern" "$muga" create bad -f "$work/bad" "$@"
    [ -e "$MUGA_HOME/manifests/bad/latest" ] && fail "made of what was refused: $pattern"
    [ "$(blobs)" -eq 0 ] || fail "left in the store by a refusal ($pattern): $(ls "$MUGA_HOME/blobs")"
}
says 3 "no Modelfile here" sh -c "cd '$work' && '$muga' create bad"
says 3 "nosuch" "$muga" create bad -f "$work/nosuch"
says 4 "regular file" "$muga" create bad -f "$work"
says 2 "give one" "$muga" create bad -f "$work/bad" --from "$tiny"
says 2 "no model name" "$muga" create ../bad --from "$tiny"
says 2 "no model name" "$muga" create Bad --from "$tiny"
says 2 "read as a path" "$muga" create bad.gguf --from "$tiny"
says 2 "no type to quantise to" "$muga" create bad --from "$tiny" --quantize Q9_Z
refuse 4 "bad:1: no FROM" ''
refuse 4 "bad:1: FROM has no value" 'FROM\n'
refuse 3 "FROM: no model 'nosuch:latest'" 'FROM nosuch\n'
refuse 3 "FROM: 'bad' is the model that is to be made" 'FROM bad\n'
refuse 3 "FROM: .*there is no such file" 'FROM ./nosuch.gguf\n'
refuse 3 "FROM: no model 'd' in the store; the folder of that name is ./d" 'FROM d\n'
refuse 4 "FROM: .*not a GGUF file" 'FROM ../../../../../../../../../../etc/passwd\n'
refuse 3 "FROM: .*config.json" 'FROM ./d\n'
refuse 4 "FROM: .*not a regular file" 'FROM /dev/zero\n'
refuse 3 "no blob sha256" "FROM sha256:$(printf '%064d' 0)\n"
refuse 3 "no model\|no such" "FROM sha256:../../etc/passwd\n"
refuse 4 "FROM: an adapter, and no model" "FROM $adapter\n"
refuse 4 "ADAPTER: .*general.type" "FROM $tiny\nADAPTER $tiny\n"
refuse 4 "ADAPTER: .*was trained on\|ADAPTER: .*token_embd\|ADAPTER: " "FROM $tiny\nADAPTER $adapter\n"
refuse 4 "ADAPTER: " "FROM $tiny\nADAPTER $adapter\n" --any-base
refuse 3 "ADAPTER: .*no such file" "FROM $tiny\nADAPTER ./nosuch.gguf\n"
refuse 4 "ADAPTER: .*is a folder" "FROM $tiny\nADAPTER ./d\n"
refuse 4 "bad:3: there is no parameter 'temprature'; is it temperature?" "FROM $tiny\n\nPARAMETER temprature 1\n"
refuse 4 "num_ctx 99999 is more than the 2048 tokens" "FROM $tiny\nPARAMETER num_ctx 99999\n"
refuse 4 "bad:3: TEMPLATE: '{{ .Prompt }}' is Go's template" "FROM $tiny\nTEMPLATE \"\"\"<s>\n{{ .Prompt }}\"\"\"\n"
refuse 4 "bad:2: TEMPLATE: " "FROM $tiny\nTEMPLATE {%% for %%}\n"
refuse 4 "its weights are Q4_1 already" "FROM $tiny\n" --quantize Q4_K_M

# ---- quantised on the way ----
"$muga" quantize "$tiny" "$work/f16.gguf" F16 >/dev/null 2>&1
says 0 "created quant" "$muga" create quant --from "$work/f16.gguf" -q q8_0
says 0 '"tensor_types":{[^}]*"Q8_0"' "$muga" show quant --json
"$muga" rm quant >/dev/null

# ---- a disk that is full, a limit on files, a kill ----
(
    ulimit -f 64
    "$muga" create bad --from "$work/f16.gguf" >"$work/stdout" 2>"$work/stderr"
)
[ $? -eq 6 ] && grep -q "file size limit" "$work/stderr" || fail "a limit on file size: $(cat "$work/stderr")"
[ "$(blobs)" -eq 0 ] || fail "a limit on file size left $(ls "$MUGA_HOME/blobs")"
mkdir "$work/disk"
if mount -t tmpfs -o size=100k tmpfs "$work/disk" 2>/dev/null; then
    mounted=$work/disk
    MUGA_HOME=$work/disk/home "$muga" create bad --from "$work/f16.gguf" >"$work/stdout" 2>"$work/stderr"
    [ $? -eq 6 ] && grep -q "free disk space" "$work/stderr" || fail "a full disk: $(cat "$work/stderr")"
    [ -z "$(find "$work/disk/home" -type f)" ] || fail "a full disk left $(find "$work/disk/home" -type f)"
fi
if [ -f "${MUGA_TEST_MODEL:-}" ]; then
    for i in 1 2 3 4 5 6; do # somewhere in the middle: it takes about a second
        "$muga" create bad --from "$MUGA_TEST_MODEL" >/dev/null 2>&1 &
        pid=$!
        sleep "0.$i"
        kill -KILL "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
        if [ -e "$MUGA_HOME/manifests/bad/latest" ]; then
            says 0 "stored_as  *bad:latest" "$muga" show bad
            "$muga" rm bad >/dev/null
        fi
        find "$MUGA_HOME/blobs" -type f -name 'sha256-*' | while read -r blob; do # whole, or not there
            [ "sha256-$(sha256sum "$blob" | cut -c1-64)" = "${blob##*/}" ] || echo "not ok: a kill left half of $blob"
        done >"$work/half"
        [ -s "$work/half" ] && fail "$(cat "$work/half")"
    done
    find "$MUGA_HOME/blobs" -type f -exec touch -d '2 days ago' {} +
    says 0 "" "$muga" doctor
    [ "$(blobs)" -eq 0 ] || fail "doctor leaves $(ls "$MUGA_HOME/blobs")"
fi

[ "$bad" -eq 0 ] && echo "create as expected"
exit "$((bad > 0))"
