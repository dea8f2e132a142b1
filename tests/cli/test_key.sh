#!/bin/sh
# Would break: `muga key` shows a key twice or keeps it, takes wrong flags, revokes the wrong one, or says other things
# than it did.
set -u
muga=${MUGA_PROGRAM:?}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bad=0
broken() { bad=$((bad + 1)); echo "not ok: $1"; }
# refused CODE PATTERN ARGUMENT...
refused() {
    code=$1 pattern=$2
    shift 2
    "$muga" key "$@" >"$work/out" 2>"$work/err"
    got=$?
    if [ "$got" -ne "$code" ] || ! grep -qe "$pattern" "$work/err"; then
        broken "key $*: exit $got (expected $code), expected \"$pattern\" in: $(cat "$work/err")"
    fi
    [ ! -s "$work/out" ] || broken "key $*: printed $(cat "$work/out")"
}

"$muga" key list | grep -q '^no keys: ' || broken "a list without a store"
[ "$("$muga" key list --json)" = '[]' ] || broken "a JSON list without a store"
refused 3 'nothing has been recorded' revoke nobody

"$muga" key create --name front --scope 'models:smol*,agents:*' --scope audit \
    --limit tokens/day=1000,concurrency=4 --expires 30d --priority high --weight 3 >"$work/key" 2>"$work/said" ||
    broken "create: $(cat "$work/said")"
grep -Eqx 'muga_[0-9A-Za-z]{49}' "$work/key" || broken "the key: $(cat "$work/key")"
grep -q 'front (key_.*) may: models:smol\*,agents:\*,audit' "$work/said" || broken "what it may: $(cat "$work/said")"
grep -q "$(cut -c 14- "$work/key")" "$work/said" && broken "the key is said on stderr, too"
"$muga" key create -n ada --limit 500,2 --tenant shop --json >"$work/json" 2>/dev/null || broken "create --json"
python3 - "$work/json" <<'END' || broken "create --json: $(cat "$work/json")"
import json, re, sys
made = json.load(open(sys.argv[1]))
assert re.fullmatch("muga_[0-9A-Za-z]{49}", made["key"]) and re.fullmatch("key_[0-9A-Za-z]{9}", made["id"])
open(sys.argv[1] + ".key", "w").write(made["key"] + "\n")
open(sys.argv[1] + ".id", "w").write(made["id"])
END

"$muga" key list >"$work/list" || broken "list"
grep -Eq '^front +key_[^ ]+ +valid +- +1000 +0 +4 +20.* models:smol\*,agents:\*,audit$' "$work/list" ||
    broken "the list: $(cat "$work/list")"
grep -Eq '^ada +key_[^ ]+ +valid +shop +500 +0 +2 +- +models:\*$' "$work/list" || broken "the list: $(cat "$work/list")"
"$muga" key list --json >"$work/list.json"
python3 - "$work/list.json" <<'END' || broken "list --json: $(cat "$work/list.json")"
import json, sys
front, ada = json.load(open(sys.argv[1]))
assert front["name"] == "front" and front["weight"] == 3 and front["priority"] == 1 and front["state"] == "valid"
assert front["tokens_day"] == 1000 and front["concurrency"] == 4 and front["expires_ms"] > front["created_ms"]
assert ada["tenant"] == "shop" and ada["expires_ms"] is None and ada["revoked_ms"] is None
assert front["tenant"] != ada["tenant"] and ada["used_today"]["requests"] == 0
END

# The secret is nowhere but where it was printed: not in the store, nor in any list.
for key in "$work/key" "$work/json.key"; do
    secret=$(cut -c 14-48 "$key")
    [ "${#secret}" -eq 35 ] || broken "no secret to look for"
    if grep -rqaF "$secret" "$MUGA_HOME" "$work/list" "$work/list.json"; then
        broken "the key is kept: $(grep -rlaF "$secret" "$MUGA_HOME" "$work/list" "$work/list.json")"
    fi
done
grep -rqaF "$(cut -c 6-13 "$work/key")" "$MUGA_HOME" || broken "the prefix isn't found, so the search finds nothing"

"$muga" key rotate front --grace 24h >"$work/key2" 2>/dev/null || broken "rotate"
grep -Eqx 'muga_[0-9A-Za-z]{49}' "$work/key2" || broken "the new key: $(cat "$work/key2")"
cmp -s "$work/key" "$work/key2" && broken "rotated to the same key"
"$muga" key revoke "$(cat "$work/json.id")" >/dev/null || broken "revoke by id"
"$muga" key list | grep -Eq '^ada .* revoked ' || broken "a revoked key in the list"
refused 3 "no valid key is called 'ada'" revoke ada
refused 3 "no valid key is called 'ada'" rotate ada
"$muga" key create -n ada >/dev/null 2>&1 || broken "a revoked key's name isn't free"
"$muga" key revoke ada >/dev/null && "$muga" key revoke --forget ada >/dev/null || broken "forget"

refused 2 "a key 'front' is there already" create --name front
refused 2 'name NAME is missing' create
refused 2 "must be 1 to 64 of" create --name 'a b'
refused 2 "scope 'everything' is none of" create --name x --scope everything
refused 2 "scope 'b' is none of" create --name x --scope models:a,b
refused 2 "scope 'admin:x'" create --name x --scope admin:x
refused 2 'limit takes' create --name x --limit tokens/day=many
refused 2 'limit takes' create --name x --limit tokens/day=-1
refused 2 'limit takes' create --name x --limit tokens/day=0
refused 2 'limit takes' create --name x --limit tokens/day=99999999999999999999
refused 2 'limit takes' create --name x --limit concurrency=1000001
refused 2 'limit takes' create --name x --limit 1,2,3
refused 2 'limit takes' create --name x --limit ''
refused 2 'expires takes' create --name x --expires tomorrow
refused 2 'expires takes' create --name x --expires 2027-02-31
refused 2 'later than now' create --name x --expires 2020-01-01
refused 2 'later than now' create --name x --expires 0d
refused 2 'priority is' create --name x --priority urgent
refused 2 'weight must be' create --name x --weight 0
refused 2 'weight must be' create --name x --weight 1001
refused 2 "a tenant's name" create --name x --tenant own:key_1
refused 2 'unexpected argument' create x
refused 2 'unknown option' list --all
refused 2 'an\|missing' revoke
refused 2 'grace takes' rotate front --grace 1
refused 2 "unknown subcommand 'show'" show
"$muga" key list --json | grep -q '"x"' && broken "a refused key was made"

"$muga" key usage | grep -qx 'nothing was used' || broken "usage where there is none"
[ "$("$muga" key usage front --json)" = '[]' ] || broken "usage as JSON"
refused 3 "no key is called 'nobody'" usage nobody
refused 2 'whole number' usage --days -1

for verb in create list usage revoke rotate; do
    "$muga" help key "$verb" | grep -q "usage: muga key $verb" || broken "help key $verb"
done
"$muga" key create --name full >/dev/full 2>"$work/err"
[ $? -eq 6 ] || broken "a key that could not be printed: $(cat "$work/err")"
[ "$bad" -eq 0 ]
