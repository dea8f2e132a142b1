# For scripts of tests/cli, read with `.`: counting what fails, and running a command with its code and words checked.
# $work is theirs, a folder; $bad counts.
bad=0
fail() {
    bad=$((bad + 1))
    echo "not ok: $*"
}
# says EXPECTED-CODE PATTERN COMMAND...: what it wrote is in $work/stdout and $work/stderr
says() {
    expected=$1
    pattern=$2
    shift 2
    "$@" >"$work/stdout" 2>"$work/stderr" </dev/null
    got=$?
    [ "$got" -eq "$expected" ] || fail "exit $got, not $expected: $* ($(cat "$work/stderr"))"
    cat "$work/stdout" "$work/stderr" | grep -q -- "$pattern" ||
        fail "nothing about '$pattern': $* ($(cat "$work/stderr"))"
}
