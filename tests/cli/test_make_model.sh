#!/bin/sh
# Would break: the models that speed is measured on - bench/make_model must write files that load and compute, in each
# architecture and mixture, the same bytes for the same arguments, and refuse arguments it doesn't know.
# ctest: unthreaded
set -u
muga=${MUGA_PROGRAM:?}
make=${MUGA_BUILD_DIR:?}/bench/make_model
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bad=0
fail() {
    bad=$((bad + 1))
    echo "not ok: $*"
}

for type in Q4_0 Q8_0 Q2_K Q3_K_M Q4_K_M Q6_K F16; do
    for shape in tiny tiny-phi3; do
        model=$work/$shape-$type.gguf
        "$make" $shape $type "$model" >"$work/out" 2>&1 || fail "$shape in $type: $(cat "$work/out")"
        "$muga" debug logits "$model" --ids 3,77,300 -o "$work/logits" 2>"$work/err" ||
            fail "$shape in $type doesn't compute: $(cat "$work/err")"
    done
done
"$muga" run "$work/tiny-Q4_0.gguf" "Hello" -n 2 --temp 0 >"$work/out" 2>"$work/err" ||
    fail "its tokenizer and template: $(cat "$work/err")"
"$muga" show "$work/tiny-Q2_K.gguf" --json | grep -q '"Q3_K"' || fail "Q2_K isn't the mixture of that name"
"$make" tiny Q2_K "$work/pure.gguf" --pure >"$work/out" 2>&1 || fail "--pure: $(cat "$work/out")"
"$muga" show "$work/pure.gguf" --json | grep -q '"Q3_K"' && fail "--pure is a mixture"
"$make" tiny Q4_K_M "$work/again.gguf" >"$work/out" 2>&1
cmp -s "$work/again.gguf" "$work/tiny-Q4_K_M.gguf" || fail "the same arguments give other bytes"
"$make" tiny Q4_K_M "$work/again.gguf" --seed 2 >"$work/out" 2>&1
cmp -s "$work/again.gguf" "$work/tiny-Q4_K_M.gguf" && fail "another seed gives the same bytes"
for wrong in "" "tiny" "tiny Q4_K_M" "huge Q4_0 $work/x" "tiny Q9 $work/x" "tiny Q4_0 $work/x --seed -1" \
    "tiny Q4_0 $work/x --ctx 0" "tiny Q4_0 $work/x --frobnicate"; do
    # shellcheck disable=SC2086  # several words
    "$make" $wrong >"$work/out" 2>&1
    [ $? -eq 2 ] || fail "not refused: make_model $wrong"
    [ ! -e "$work/x" ] || fail "refused, but wrote: make_model $wrong"
done
"$make" tiny Q4_0 "$work/no/such/folder" >"$work/out" 2>&1
[ $? -eq 6 ] || fail "a folder that isn't there"
[ "$bad" -eq 0 ] || exit 1
