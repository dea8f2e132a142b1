#!/bin/sh
# Would break: the manual page lacks a verb or an option that the help has, or doesn't format; completion offers what
# the program doesn't know.
set -u
muga=${MUGA_PROGRAM:?}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bad=0
broken() {
    bad=$((bad + 1))
    echo "not ok: $1"
}

"$muga" help --man >"$work/muga.1" || broken "muga help --man: exit $?"
for part in '^\.TH MUGA 1' '^\.SS "muga run MODEL' '^\.SS "muga agent test NAME' '^\.SS "muga debug tokens' \
    '^\.B \\-\\-temp' '^\.SH EXIT STATUS'; do
    grep -q "$part" "$work/muga.1" || broken "the page has $part"
done
# Every option of every verb, as the help lists them.
"$muga" help | sed -n 's/^  \([a-z][a-z]*\)  .*/\1/p' >"$work/verbs"
[ "$(wc -l <"$work/verbs")" -gt 20 ] || broken "the help lists verbs"
while read -r verb; do
    "$muga" help "$verb" >"$work/help" || broken "muga help $verb: exit $?"
    for option in $(sed -n 's/^  \(-[a-z], \)\{0,1\}\(--[a-z-]*\).*/\2/p' "$work/help"); do
        grep -qe "^\.B .*$(printf '%s' "$option" | sed 's/-/\\\\-/g')" "$work/muga.1" ||
            broken "the page has $option of $verb"
    done
done <"$work/verbs"
# A line that begins with a request roff doesn't know would be lost; there are none but these.
grep -E "^[.']" "$work/muga.1" | grep -vqE '^\.(TH|SH|SS|TP|PP|B|br|\\") ?' && broken "the page has other requests"
if command -v man >/dev/null 2>&1 && man --version >/dev/null 2>&1; then
    said=$(MANWIDTH=80 man --warnings -l "$work/muga.1" 2>&1 >"$work/page")
    [ -z "$said" ] || broken "man says: $said"
    grep -q -- '--temp' "$work/page" || broken "a formatted page shows --temp with minus signs"
fi
"$muga" help --man >/dev/full 2>/dev/null
[ $? -eq 6 ] || broken "a full disk is exit 6"

if ! command -v bash >/dev/null 2>&1; then
    echo "skipped: completion; bash isn't here"
    exit "$((bad > 0))"
fi
# completes WORDS...: what is offered for the last of them, on one line
completes() {
    bash -c '. deploy/completion.bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _muga; echo "${COMPREPLY[*]}"' \
        bash "$muga" "$@"
}
offers() {
    want=$1
    shift
    got=$(completes "$@")
    [ "$got" = "$want" ] || broken "completion of '$*' offers '$got', not '$want'"
}
offers "serve session" se
offers "verify" audit ve
offers "--temp" run tiny --te
offers "--session" agent run x --sess
offers "thermostat" agent lint th
offers "serve" help serv
offers "" frobnicate x
[ "$bad" -eq 0 ] && echo "the manual page and completion are as the help"
exit "$((bad > 0))"
