#!/usr/bin/env python3
"""muga approve and muga audit, as a person uses them. Would break: a held call could not be decided from another
terminal, a wrong id or a second yes would pass, or a record changed in the file would not be noticed."""

import json
import os
import sqlite3
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.getcwd(), "tests", "support"))
from program import TINY, expect, make_agent, muga


def hold(home, agent):
    folder, name = os.path.split(agent)
    run = muga(home, "agent", "run", os.path.join(".", name), "--model", TINY,
               "-s", "customer=7", "-m", "please reset my password", cwd=folder)
    expect("a write without a terminal is held", run, 5, "reset_password", "muga approve")
    waiting = json.loads(expect("approve list --json", muga(home, "approve", "list", "--json"), 0))
    return waiting[-1]


def resets(home):
    with sqlite3.connect(os.path.join(home, "data", "customer-service", "shop.db")) as db:
        return db.execute("SELECT count(*) FROM password_resets").fetchone()[0]


def decide(home, agent):
    before_any = resets(home) if os.path.exists(os.path.join(home, "data")) else 0
    held = hold(home, agent)
    expect("approve list", muga(home, "approve", "list"), 0, held["approval"], "reset_password {}", '{"customer":7}')
    expect("a wrong id", muga(home, "approve", "yes", "0000-0000"), 3, "not there")
    expect("no id at all", muga(home, "approve", "yes"), 2)
    expect("a word", muga(home, "approve", "yes", "it's fine"), 3, "no approval")
    if resets(home) != before_any:
        sys.exit("a reset ran before anyone agreed")
    typed = held["approval"].upper().replace("-", "")
    expect("yes, as a person types it", muga(home, "approve", "yes", typed), 0, "finished", '{"changed":1}', "--resume")
    expect("yes again", muga(home, "approve", "yes", held["approval"]), 5, "already used")
    if resets(home) != before_any + 1:
        sys.exit("the approved reset did not run exactly once")
    held = hold(home, agent)
    answer = json.loads(expect("no --json", muga(home, "approve", "no", held["approval"], "--json"), 0))
    if answer["decision"] != "no" or answer["call"] != held["call"]:
        sys.exit(f"approve no --json says {answer}")
    expect("yes after no", muga(home, "approve", "yes", held["approval"]), 5, "already denied")
    if resets(home) != before_any + 1:
        sys.exit("a denied reset ran")


def changed_policy(home, agent):
    held = hold(home, agent)
    with open(os.path.join(agent, "agent.yaml"), "a", encoding="utf-8") as f:
        f.write("description_of_nothing: 1\n")
    expect("a manifest that broke", muga(home, "approve", "yes", held["approval"]), 4, "agent.yaml:", "unknown key")
    path = os.path.join(agent, "agent.yaml")
    with open(path, encoding="utf-8") as f:
        text = f.read().replace("description_of_nothing: 1\n", "")
    with open(path, "w", encoding="utf-8") as f:
        f.write(text.replace("approval_seconds: 86400", "approval_seconds: 86399"))
    expect("a policy that changed", muga(home, "approve", "yes", held["approval"]), 5, "changed since the call was")
    expect("no is always possible", muga(home, "approve", "no", held["approval"]), 0, "denied")


def hidden_characters(home, agent):
    """What would clear a terminal or turn letters round is shown, not obeyed."""
    muga(home, "agent", "run", agent, "--model", TINY, "-s", "customer=7",
         "-m", "\x9b2J \u202e hello \u00e4")
    text = expect("log with hidden characters", muga(home, "audit", "log"), 0, "\\u009b2J \\u202e hello \u00e4")
    if "\x9b" in text or "\u202e" in text:
        sys.exit("audit log passes control characters on to the terminal")


def audit(home):
    expect("verify", muga(home, "audit", "verify"), 0, "chain whole", "head ")
    report = json.loads(expect("verify --json", muga(home, "audit", "verify", "--json"), 0))
    records = json.loads(expect("log --json", muga(home, "audit", "log", "--json"), 0))
    if not report["whole"] or report["records"] != len(records) or report["head"] != records[-1]["hash"]:
        sys.exit(f"verify and log disagree: {report}")
    expect("log", muga(home, "audit", "log", "-n", "2", "--from", "2"), 0, "message", "please reset my password")
    expect("a kept head", muga(home, "audit", "verify", "--head", records[3]["hash"]), 0, "chain whole")
    expect("another head", muga(home, "audit", "verify", "--head", "ab" * 32), 1, "no record has the head")
    expect("no head", muga(home, "audit", "verify", "--head", "latest"), 2, "64 hexadecimal digits")
    expect("replay", muga(home, "audit", "replay"), 0, "chain whole")
    expect("replay in plain C", muga(home, "audit", "replay", "--isa", "ref", "--threads", "1"), 0, "chain whole")
    expect("replay on none", muga(home, "audit", "replay", "--isa", "mmx"), 2, "--isa is ref")
    store = os.path.join(home, "muga.db")
    with sqlite3.connect(store) as db:
        db.execute("UPDATE audit_payload SET payload = replace(payload, 'please', 'do not') WHERE n = 2")
    db.close()
    expect("verify a changed record", muga(home, "audit", "verify"), 1, "audit record 2: its payload was changed")
    expect("replay a changed record", muga(home, "audit", "replay"), 1, "audit record 2")
    broken = json.loads(expect("verify --json", muga(home, "audit", "verify", "--json"), 1).splitlines()[0])
    if broken["whole"] or broken["broken"] != 2:
        sys.exit(f"verify --json says {broken}")


def locked(home):
    with sqlite3.connect(os.path.join(home, "muga.db")) as db:
        db.isolation_level = None
        db.execute("BEGIN EXCLUSIVE")
        result = muga(home, "approve", "no", "0000-0000")
        db.execute("ROLLBACK")
    expect("a locked store", result, 6, "muga.db: locked by another program")


def main():
    with tempfile.TemporaryDirectory() as folder:
        home = os.path.join(folder, "home")
        os.mkdir(home)
        expect("nothing waits", muga(home, "approve", "list"), 0, "nothing waits")
        expect("nothing recorded", muga(home, "audit", "verify"), 3, "nothing has been recorded")
        agent = make_agent(folder)
        decide(home, agent)
        changed_policy(home, agent)
        hidden_characters(home, agent)
        audit(home)
        locked(home)


main()
