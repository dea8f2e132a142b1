#!/bin/sh
# Would break: a conversation kept with `muga run --session` doesn't go on, is computed anew, goes on otherwise than it
# would have, or goes on from a file that is damaged or belongs to something else. On the tiny model of the tree.
set -u
muga=${MUGA_PROGRAM:?}
tiny=tests/data/tiny.gguf
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bad=0
broken() { bad=$((bad + 1)); echo "not ok: $1"; }
file=$work/chat.session

# say FILE TEXT OPTION...: a turn; its answer in $work/answer, what was said beside it in $work/said.
say() {
    kept=$1 text=$2
    shift 2
    "$muga" run "./$tiny" "$text" --session "$kept" --temp 0 -n 12 --verbose "$@" >"$work/answer" 2>"$work/said" \
        </dev/null
}
# refused NAME CODE PATTERN FILE OPTION...: a turn that doesn't come about.
refused() {
    name=$1 code=$2 pattern=$3 kept=$4
    shift 4
    say "$kept" "and then?" "$@"
    got=$?
    if [ "$got" -ne "$code" ] || ! grep -qe "$pattern" "$work/said"; then
        broken "$name: exit $got (expected $code), expected \"$pattern\" in: $(cat "$work/said")"
    fi
}

say "$file" "where is my order" || broken "a new conversation: $(cat "$work/said")"
grep -q "(0 cached)" "$work/said" || broken "the first turn was not computed: $(cat "$work/said")"
[ -s "$file" ] || broken "nothing was kept"
cp "$file" "$work/first.session"
say "$file" "and then?" || broken "going on: $(cat "$work/said")"
cp "$work/answer" "$work/second"
cached=$(sed -n 's/.*(\([0-9]*\) cached).*/\1/p' "$work/said")
[ "${cached:-0}" -ge 20 ] || broken "what was kept was computed again: $(cat "$work/said")"
cp "$work/first.session" "$work/again.session"
say "$work/again.session" "and then?" --threads 1 || broken "going on again: $(cat "$work/said")"
cmp -s "$work/answer" "$work/second" || broken "the same conversation went on otherwise"
cmp -s "$work/again.session" "$file" || broken "the same conversation was kept otherwise"

refused "another kind of keys" 4 "use the same --kv" "$file" --kv q8
refused "other metadata" 4 "override" "$file" --override llama.rope.freq_base=float:20000
refused "a context too small" 4 "context of 40" "$file" --ctx 40
refused "a system message late" 2 "has a conversation already" "$file" --system "Be brief."
head -c 3000 "$file" >"$work/cut.session"
refused "a file cut short" 4 "ends early" "$work/cut.session"
echo hello >"$work/text.session"
refused "no saved session" 4 "session" "$work/text.session"
refused "a folder" 4 "not a saved session" "$work"
cmp -s "$work/again.session" "$file" || broken "a refused turn changed the file"
[ "$bad" -eq 0 ]
