#!/bin/sh
# Would break: comparing engines by script - the shape of what `debug logits` and `debug greedy` give out, their exit
# codes, where -o writes.
set -u
muga=${MUGA_PROGRAM:?}
tiny=./tests/data/tiny.gguf # 416 tokens
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bad=0
fail() {
    bad=$((bad + 1))
    echo "not ok: $*"
}
# code EXPECTED COMMAND...
code() {
    expected=$1
    shift
    "$@" >"$work/out" 2>"$work/err" </dev/null
    got=$?
    [ "$got" -eq "$expected" ] || fail "exit $got, not $expected: $* ($(cat "$work/err"))"
}
size() { wc -c <"$1" | tr -d ' '; }

code 0 "$muga" debug logits "$tiny" --ids 1,2,3 -o "$work/last"
[ "$(size "$work/last")" = $((416 * 4)) ] || fail "the last row has $(size "$work/last") bytes"
code 0 "$muga" debug logits "$tiny" --ids 1,2,3 --all -o "$work/all"
[ "$(size "$work/all")" = $((3 * 416 * 4)) ] || fail "all rows have $(size "$work/all") bytes"
tail -c $((416 * 4)) "$work/all" | cmp -s - "$work/last" || fail "the last of all rows is another one than the last row"
"$muga" debug logits "$tiny" --ids 1,2,3 --all -o /dev/stdout | cmp -s - "$work/all" || fail "a pipe gets other bytes"
for isa in ref avx2 avx-vnni avx512 neon; do
    "$muga" debug logits "$tiny" --ids 1,2,3 --all --isa $isa --threads 2 -o "$work/$isa" 2>"$work/err"
    got=$?
    case $got in
        0) cmp -s "$work/$isa" "$work/all" || fail "$isa gives other bits" ;;
        2) [ ! -e "$work/$isa" ] || fail "$isa isn't there, but its file is" ;;
        *) fail "$isa: exit $got: $(cat "$work/err")" ;;
    esac
done
for mode in "--exact" "--kv f32" "--kv q8" "--exact --kv f32"; do
    # shellcheck disable=SC2086  # two words
    code 0 "$muga" debug logits "$tiny" --ids 1,2,3 --all $mode -o "$work/mode"
    cmp -s "$work/mode" "$work/all" && fail "$mode changes nothing"
done
code 2 "$muga" debug logits "$tiny" --ids 1,2,3
code 2 "$muga" debug logits "$tiny" -o "$work/x"
code 2 "$muga" debug logits "$tiny" --ids 1,x -o "$work/x"
code 2 "$muga" debug logits "$tiny" --ids 1, -o "$work/x"
code 2 "$muga" debug logits "$tiny" --ids 1 --kv q4 -o "$work/x"
code 2 "$muga" debug logits "$tiny" --ids 1 --isa mmx -o "$work/x"
code 4 "$muga" debug logits "$tiny" --ids 1,416 -o "$work/x"
code 4 "$muga" debug logits "$tiny" --ids 1,-1 -o "$work/x"
code 4 "$muga" debug logits "$tiny" --ids 1,2,3 --ctx 2 -o "$work/x"
code 3 "$muga" debug logits ./nothing.gguf --ids 1 -o "$work/x"
code 3 "$muga" debug logits "$tiny" --ids 1 -o /nonexistent/folder/x
[ ! -e "$work/x" ] && [ ! -e "$work/x.part" ] || fail "a failed run left a file"

code 0 "$muga" debug greedy "$tiny" --ids 1,2,3 -n 16
[ "$(wc -l <"$work/out" | tr -d ' ')" = 1 ] && [ "$(wc -w <"$work/out" | tr -d ' ')" = 16 ] ||
    fail "greedy gives not 16 ids in a line: $(cat "$work/out")"
first=$(cut -d' ' -f1 "$work/out")
code 0 "$muga" debug greedy "$tiny" --ids "1,2,3,$first" -n 15
[ "$first $(cat "$work/out")" = "$("$muga" debug greedy "$tiny" --ids 1,2,3 -n 16)" ] ||
    fail "greedy doesn't go on as it began"
code 0 "$muga" debug greedy "$tiny" --ids 1,2,3 -n 16 --ctx 18
code 4 "$muga" debug greedy "$tiny" --ids 1,2,3 -n 17 --ctx 18
code 2 "$muga" debug greedy "$tiny"

[ "$bad" -eq 0 ] || exit 1
