#!/usr/bin/env python3
"""muga agent state. Would break: nobody could see what all sessions of an agent share, or begin it anew; or a reset
would leave an open session with what was forgotten, or break the chain."""

import json
import os
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.getcwd(), "tests", "support"))
from program import MUGA, ROOT, environment, expect, make_agent, muga

KEEPER = os.path.join(ROOT, "agents", "stock-keeper")


def send(process, n, count):
    process.stdin.write(json.dumps({"n": n, "event": "delivered", "item": "tea", "count": count}) + "\n")
    process.stdin.flush()
    if not process.stdout.readline():
        sys.exit(f"event {n}: no answer: {process.stderr.read()}")


def state(home, *options):
    return json.loads(expect("state", muga(home, "agent", "state", KEEPER, "--json", *options), 0))


def levels(home, wanted):
    got = state(home)["state"]["levels"]
    if got != wanted:
        sys.exit(f"levels are {got}, expected {wanted}")


def main():
    with tempfile.TemporaryDirectory() as home:
        new = state(home)
        if new["state"] != {"levels": {}, "ordered": {}, "last_n": 0} or new["changed_ms"] is not None:
            sys.exit(f"an agent that has seen nothing knows {new}")
        stream = subprocess.Popen([MUGA, "agent", "run", KEEPER, "--percepts", "-", "--json"],
                                  env=environment(home), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True)
        send(stream, 7, 30)
        levels(home, {"tea": 30})
        expect("as lines", muga(home, "agent", "state", KEEPER), 0, "levels", '{"tea":30}', "last_n           7")
        if not state(home, "--reset")["reset"]:
            sys.exit("a reset that forgot nothing")
        levels(home, {})
        expect("again", muga(home, "agent", "state", KEEPER, "--reset"), 0, "nothing to forget")
        send(stream, 3, 12)  # the session that is open has forgotten, too: 3 is new again
        levels(home, {"tea": 12})
        stream.stdin.close()
        stream.stdout.read()
        stream.wait()
        expect("the chain", muga(home, "audit", "verify"), 0, "chain whole")
        expect("on the record", muga(home, "audit", "log"), 0, '"session":null,"state":null', '"by":')
        expect("no shared state", muga(home, "agent", "state", make_agent(home)), 4, "muga session show")
        expect("no such agent", muga(home, "agent", "state", "nobody"), 3)
    print("an agent's shared state: passed")


main()
