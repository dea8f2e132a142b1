#!/usr/bin/env python3
"""Would break: muga data from the command line. Nothing kept without consent; what is kept is masked, can be listed,
corrected, rated, exported as muga train reads it, redacted and dropped; two processes at once and SIGKILL leave the
chain whole; messages can't move a terminal's cursor; a hundred thousand rows are read."""
# ctest: slow
import hashlib
import json
import os
import pty
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

MUGA = os.environ["MUGA_PROGRAM"]
WORK = tempfile.mkdtemp()
HOME = os.path.join(WORK, "home")
AGENT = os.path.join(WORK, "customer-service")
BAD = []


def muga(*args, code=0, stdin=b"", home=HOME):
    p = subprocess.run([MUGA, *args], input=stdin, capture_output=True, env={**os.environ, "MUGA_HOME": home})
    out, err = p.stdout.decode(), p.stderr.decode()
    if p.returncode != code:
        BAD.append(f"exit {p.returncode}, not {code}: muga {' '.join(args)}\n{out}{err}")
    return out, err


def check(what, ok):
    if not ok:
        BAD.append(what)


def says(pattern, *args, code=0):
    out, err = muga(*args, code=code)
    check(f"nothing about '{pattern}' from muga {' '.join(args)}:\n{out}{err}", re.search(pattern, out + err))
    return out


def talk(customer, *messages, code=0):
    args = [x for m in messages for x in ("-m", m)]
    return muga("agent", "run", AGENT, "--model", "./tests/data/tiny.gguf", "--session", f"customer={customer}", *args,
                code=code)


def rows(*args):
    return json.loads(muga("data", "list", *args, "--json")[0])


def prepare():
    shutil.copytree("agents/customer-service", AGENT)
    path = os.path.join(AGENT, "agent.yaml")
    text = re.sub(r"model_weight: [0-9.]+", "model_weight: 0", open(path).read())
    open(path, "w").write(text)


def consent():
    says("no consent was ever given", "data", "consent")
    talk(69, "where is my order a31507")
    says("nothing was kept", "data", "list")
    says("give `on AGENT`", "data", "consent", "yes", AGENT, code=2)
    says("no agent 'nobody'|nobody", "data", "consent", "on", "nobody", code=3)
    says("consent on.*customer-service", "data", "consent", "on", AGENT)
    says("customer-service +on +since", "data", "consent")
    check("the consent is in the chain", '"consent":"on"' in muga("audit", "log")[0])


def keep():
    talk(69, "where is my order a31507", "what is my email? mine is ada@example.com, card 4111 1111 1111 1111")
    talk(70, "let me talk to a human")
    found = rows("customer-service")
    check("three rows", [r["outcome"] for r in found] == ["completed", "completed", "escalated"])
    text = json.dumps(found)
    check("masked: " + text, "[email]" in text and "[card]" in text and "@example" not in text and "4111" not in text)
    check("the customer's name is masked", "Jonas" not in text and "[name]" in text)
    check("by subject", len(rows("--subject", "customer=69")) == 2)
    check("by outcome", len(rows("--outcome", "escalated,denied")) == 1)
    check("the newest", len(rows("--max", "1")) == 1)
    says("no consent was ever given", "data", "drop", "customer-servise", code=3)
    says("is none of completed", "data", "list", "--outcome", "good", code=2)
    says("names its subject by 'custmer'", "data", "list", "--subject", "custmer=69", code=3)
    says("NAME=VALUE|name=value", "data", "list", "--subject", "69", code=2)
    says("give --session", "data", "list", "--turn", "1", code=2)
    return found[0]["session"], found[2]["session"]


def people(session, escalated):
    says("rated up: 2 turns", "data", "rate", session, "up")
    says("rated down: 1 turn$", "data", "rate", session, "down", "--turn", "2", "--note", "ask Ada Lovelace, ada@x.org")
    says("up, down or none", "data", "rate", session, "good", code=2)
    says("nothing of it was kept", "data", "rate", "s-nothing", "up", code=3)
    says("turn 9 was not kept", "data", "rate", session, "up", "--turn", "9", code=3)
    says("which turn", "data", "correct", session, "--label", "order_status", code=2)
    says("no label of agent", "data", "correct", escalated, "--turn", "1", "--label", "ordr", code=4)
    says("--call", "data", "correct", escalated, "--turn", "1", "--call", "{", code=4)
    says("arguments of order_status", "data", "correct", escalated, "--turn", "1", "--call",
         '{"tool": "order_status", "arguments": {"order_id": "7"}}', code=4)
    says("corrected: turn 1", "data", "correct", escalated, "--turn", "1", "--label", "account_lookup", "--call",
         '{"tool": "account_lookup", "arguments": {}}')
    says("corrected .*human->account_lookup", "data", "list")
    check("notes are masked", "x.org" not in muga("data", "list")[0])


def export():
    path = os.path.join(WORK, "data.jsonl")
    says("exported: 2 rows as 2 lines, sha256", "data", "export", AGENT, "-o", path)
    lines = [json.loads(x) for x in open(path)]
    text = open(path).read()
    check("masked export", "@example" not in text and "Jonas" not in text)
    answers = [m for x in lines for m in x["messages"] if m["role"] == "assistant"]
    check("calls and answers: " + text, any("tool_calls" in m for m in answers) and len(lines[0]["tools"]) == 4)
    check("our own keywords stay here", '"from"' not in text and "normalise" not in text)
    labels = muga("data", "export", AGENT, "--form", "labels")[0].splitlines()
    check("labels: " + str(labels), [json.loads(x)["labels"] for x in labels] == [["order_status"], ["account_lookup"]]
          or len(labels) == 2)
    digest = re.search(r"sha256 ([0-9a-f]{64})", muga("data", "export", AGENT, "-o", path)[0]).group(1)
    check("the digest is in the chain", digest in muga("audit", "log")[0])
    says("go as far as unmasked", "data", "export", AGENT, "--raw", code=5)
    says("--form is", "data", "export", AGENT, "--form", "csv", code=2)
    muga("data", "export", AGENT, "-o", os.path.join(WORK, "no", "such", "folder"), code=3)
    muga("train", "./tests/data/tiny.gguf", path, "-o", os.path.join(WORK, "a.gguf"), "--epochs", "1", "--rank", "1",
         "--held-out", "0", "--ctx", "2048")


def hostile():
    talk(71, "hello \x1b[2Jthere \u202egnp.exe")
    out = muga("data", "list", "--subject", "customer=71")[0]
    check("control characters: " + repr(out), "\x1b" not in out and "\u202e" not in out)


def conversation():
    """On a terminal: a word on the last turn."""
    pid, fd = pty.fork()
    if pid == 0:
        os.environ["MUGA_HOME"] = HOME
        os.execv(MUGA, [MUGA, "agent", "run", AGENT, "--model", "./tests/data/tiny.gguf", "--session", "customer=76"])
    os.write(fd, b"/good\nthanks\n/good\nhello\n/label human\n/well\n\x04")
    out = b""
    try:
        while piece := os.read(fd, 4096):
            out += piece
    except OSError:
        pass
    os.waitpid(pid, 0)
    os.close(fd)
    for pattern in (b"nothing was said yet", b"noted for turn 1", b"noted for turn 2", b"/label NAME say how"):
        check(f"{pattern} in {out}", pattern in out)
    found = rows("--subject", "customer=76")
    check("rated and corrected: " + str(found), [(r["rating"], r["outcome"] == "corrected") for r in found] ==
          [(1, False), (0, True)])


def together():
    """Two sessions at once, and one that reads meanwhile."""
    before = len(rows())
    args = [MUGA, "agent", "run", AGENT, "--model", "./tests/data/tiny.gguf", "--session"]
    said = [x for _ in range(5) for x in ("-m", "thanks")]
    env = {**os.environ, "MUGA_HOME": HOME}
    two = [subprocess.Popen([*args, f"customer={c}", *said], env=env, stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL) for c in (72, 73)]
    while any(p.poll() is None for p in two):
        muga("data", "list", "--max", "1", "--json")
        time.sleep(0.05)
    check("two at once", [p.returncode for p in two] == [0, 0] and len(rows()) == before + 10)


def killed():
    for i in range(6):
        p = subprocess.Popen([MUGA, "agent", "run", AGENT, "--model", "./tests/data/tiny.gguf", "--session",
                              "customer=74", *[x for _ in range(20) for x in ("-m", "thanks")]],
                             env={**os.environ, "MUGA_HOME": HOME}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        p.stdout.readline()
        time.sleep(0.01 * i)
        p.send_signal(signal.SIGKILL)
        p.wait()
        p.stdout.close()
        says("chain whole", "audit", "verify")


def forget():
    says("say which rows", "data", "drop", code=2)
    says("say which rows", "data", "redact", code=2)
    n = len(rows("--subject", "customer=70"))
    says(f"dropped: {n} row", "data", "drop", "--subject", "customer=70")
    check("gone", rows("--subject", "customer=70") == [])
    says("redacted: 1 row", "data", "redact", "--subject", "customer=71", "--value", "hello")
    check("taken out", rows("--subject", "customer=71")[0]["content"]["message"].startswith("[redacted]"))
    says("dropped: 0 rows", "data", "drop", "--older-than", "30")
    says("chain whole", "audit", "verify")
    says("consent off: nothing more is kept; [0-9]+ rows", "data", "consent", "off", "customer-service")
    before = len(rows())
    talk(75, "thanks")
    check("revoked", len(rows()) == before)
    says("no consent was ever given", "data", "consent", "off", "nobody", code=3)


def many():
    """A hundred thousand rows, each with the digest that it would have."""
    db = sqlite3.connect(os.path.join(HOME, "muga.db"))
    db.row_factory = sqlite3.Row
    row = dict(db.execute("SELECT * FROM interactions LIMIT 1").fetchone())
    row["correction"], row["note"], salt = None, None, bytes(32)

    def digest(turn):
        told = {k: v for k, v in row.items() if k not in ("salt", "digest")}
        told.update(turn=turn, content=json.loads(row["content"]), masked=bool(row["masked"]),
                    redacted=bool(row["redacted"]))
        text = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(salt + text.encode()).digest()

    names = list(row)
    db.executemany(f"INSERT INTO interactions({', '.join(names)}) VALUES ({', '.join('?' * len(names))})",
                   ([{**row, "turn": t, "salt": salt, "digest": digest(t)}[k] for k in names]
                    for t in range(1000, 101000)))
    db.commit()
    db.close()
    check("a hundred thousand are read", muga("data", "list")[0].count("\n") > 100000)
    muga("data", "export", AGENT, "--outcome", row["outcome"], "-o", os.path.join(WORK, "many.jsonl"))
    says("is not in the audit chain", "audit", "verify", code=1)
    db = sqlite3.connect(os.path.join(HOME, "muga.db"))
    db.execute("UPDATE interactions SET content = replace(content, 'a', 'b') WHERE turn = 5000")
    db.commit()
    db.close()
    says("turn 5000 of .* is not what was kept.*muga data drop --session", "data", "list", code=6)
    says("dropped: 10[0-9]+ rows", "data", "drop", "--all")
    check("nothing left", rows() == [])


def main():
    try:
        prepare()
        consent()
        session, escalated = keep()
        people(session, escalated)
        export()
        hostile()
        conversation()
        together()
        killed()
        forget()
        many()
    finally:
        shutil.rmtree(WORK, ignore_errors=True)
    for b in BAD:
        print("not ok:", b)
    return 1 if BAD else 0


if __name__ == "__main__":
    sys.exit(main())
