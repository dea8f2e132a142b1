#!/usr/bin/env python3
"""muga session, as a person uses it. Would break: a conversation could not be found, read, gone on with after a hold,
handed out whole, or forgotten; or forgetting would break the chain."""

import json
import os
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.getcwd(), "tests", "support"))
from program import TINY, expect, make_agent, muga


def talk(home, agent, customer, text, code=0):
    run = muga(home, "agent", "run", agent, "--model", TINY, "-s", f"customer={customer}", "-m", text)
    expect("a conversation", run, code)
    return json.loads(expect("list --json", muga(home, "session", "list", "-n", "1", "--json"), 0))[0]


def go_on(home, agent):
    held = talk(home, agent, 7, "please reset my password", 5)
    if held["state"] != "held" or held["values"] != {"customer": 7}:
        sys.exit(f"a held session is listed as {held}")
    expect("list --state", muga(home, "session", "list", "--state", "held"), 0, held["session"], "customer-service")
    expect("show", muga(home, "session", "show", held["session"]), 0, "person    please reset",
           "reset_password {}", "held")
    expect("resume while held", muga(home, "session", "resume", held["session"], "--model", TINY), 5, "held")
    approval = json.loads(muga(home, "approve", "list", "--json")[1])[0]["approval"]
    expect("approve", muga(home, "approve", "yes", approval), 0, "finished")
    expect("resume", muga(home, "session", "resume", held["session"], "--model", TINY), 0, "agent ")
    ended = json.loads(muga(home, "session", "show", held["session"], "--json")[1])
    if ended["session"]["state"] != "ended" or len(ended["calls"]) != 1 or ended["history"][-1]["role"] != "assistant":
        sys.exit(f"a resumed session is {ended}")
    over = muga(home, "session", "resume", held["session"], "--model", TINY)
    expect("resume what is over", over, 3, "nothing is held")
    return held["session"]


def rehearse(home, agent):
    run = muga(home, "agent", "run", agent, "--model", TINY, "-s", "customer=7", "-m", "please reset my password",
               "--dry")
    expect("a dry run", run, 5, "dry run: it would wait for a person")
    expect("nothing waits", muga(home, "approve", "list"), 0, "nothing waits")
    listed = json.loads(muga(home, "session", "list", "-n", "1", "--json")[1])[0]
    if not listed["dry"]:
        sys.exit(f"a dry run is listed as {listed}")


def hand_out(home, session, folder):
    whole = json.loads(expect("export", muga(home, "session", "export", session), 0))
    parts = ["audit", "calls", "facts", "history", "kept", "session"]
    if sorted(whole) != parts or whole["audit"][-1]["kind"] != "export":
        sys.exit(f"an export holds {sorted(whole)}")
    path = os.path.join(folder, "out.json")
    expect("export -o", muga(home, "session", "export", session, "-o", path), 0)
    with open(path, encoding="utf-8") as f:
        if json.load(f)["history"] != whole["history"]:
            sys.exit("two exports differ")
    expect("export to nowhere", muga(home, "session", "export", session, "-o", "/nosuch/x.json"), 3, "/nosuch")


def forget(home, agent, session):
    expect("resume what isn't there", muga(home, "session", "resume", "s-nosuch"), 3, "`muga session list` shows")
    expect("delete what isn't there", muga(home, "session", "delete", "s-nosuch"), 3, "`muga session list` shows")
    expect("delete nothing", muga(home, "session", "delete"), 2, "--subject")
    expect("delete one", muga(home, "session", "delete", session), 0, "deleted: 1")
    expect("list erased", muga(home, "session", "list", "--state", "erased"), 0, session)
    for text in "hello there", "hello again":
        talk(home, agent, 9, text)
    expect("delete another's", muga(home, "session", "delete", "--subject", "customer=8"), 3, "no session")
    answer = expect("delete a person's", muga(home, "session", "delete", "--subject", "customer=9", "--json"), 0)
    if json.loads(answer) != {"deleted": 2}:
        sys.exit(f"delete --json says {answer}")
    expect("verify", muga(home, "audit", "verify"), 0, "chain whole", "erased")
    expect("replay", muga(home, "audit", "replay"), 0, "chain whole", "erased")
    expect("show what was erased", muga(home, "session", "show", session), 0, "erased")


def main():
    with tempfile.TemporaryDirectory() as folder:
        home = os.path.join(folder, "home")
        expect("no store yet", muga(home, "session", "list"), 0, "no such session")
        expect("no such state", muga(home, "session", "list", "--state", "gone"), 2, "--state")
        agent = make_agent(folder)
        session = go_on(home, agent)
        hand_out(home, session, folder)
        rehearse(home, agent)
        forget(home, agent, session)


main()
