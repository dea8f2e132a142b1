#!/usr/bin/env python3
"""Agents that act by rules, as a person and a stream use them. Would break: the thermostat or the stock-keeper would
need a model, act outside its policy, lose what it knows when it is killed in the middle, or order twice."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.getcwd(), "tests", "support"))
from program import MUGA, ROOT, environment, expect, muga


def same(name, got, wanted):
    if got != wanted:
        sys.exit(f"{name}: {got}, expected {wanted}")


def rows(home, agent, database, query):
    with sqlite3.connect(os.path.join(home, "data", agent, database)) as db:
        return db.execute(query).fetchall()


def lines(percepts):
    return "".join(json.dumps(p) + "\n" for p in percepts)


def reading(room, temperature, heating):
    return {"room": room, "temperature": temperature, "heating": heating}


def event(n, what, item, count):
    return {"n": n, "event": what, "item": item, "count": count}


def check_thermostat(home):
    agent = os.path.join(ROOT, "agents", "thermostat")
    valves = "SELECT room, percent FROM valves ORDER BY room"
    stream = lines([reading("kitchen", 18, 0), reading("bath", 2, 0), reading("bath", None, 0),
                    reading("hall", 25, 30)])
    out = expect("a stream", muga(home, "agent", "run", agent, "--percepts", "-", said=stream), 5, "rule      too_cold",
                 "held      waits", "escalate  to caretaker: no_reading", "muga approve yes|no ID")
    same("a held call doesn't stop what follows", rows(home, "thermostat", "heating.db", valves),
         [("bath", 0), ("hall", 0), ("kitchen", 60), ("living-room", 60)])
    session = out.rsplit("--resume ", 1)[1].split("`")[0]
    waiting = json.loads(expect("what waits", muga(home, "approve", "list", "--json"), 0))
    expect("a yes", muga(home, "approve", "yes", waiting[0]["approval"]), 0)
    expect("gone on with", muga(home, "agent", "run", agent, "--resume", session, "--percepts", "-",
                                said=lines([reading("bath", 6, 100)])), 0, "full power against frost",
           "rule      right")
    same("it ran once", rows(home, "thermostat", "heating.db", valves)[0], ("bath", 100))
    out = expect("bad lines", muga(home, "agent", "run", agent, "--percepts", "-", "--json",
                                   said="no json\n[1]\n\n" + lines([reading("kitchen", 20, 0)])), 4)
    told = [json.loads(line) for line in out.splitlines()]
    same("every line is answered", [(t["line"], "error" in t) for t in told], [(1, True), (2, True), (4, False)])
    expect("a question", muga(home, "agent", "run", agent, "--message", "is the heating on?"), 0, "living-room 60 %")
    text = json.dumps(reading("kitchen", 9, 60))
    expect("a percept as text", muga(home, "agent", "run", agent, "--message", text), 0, "rule      right")
    before = muga(home, "session", "list", "--json")
    expect("nothing to read", muga(home, "agent", "run", agent, "--percepts", os.path.join(home, "not-there")), 3)
    expect("a folder to read", muga(home, "agent", "run", agent, "--percepts", home), 3, "can't be read")
    same("no session is begun for it", muga(home, "session", "list", "--json"), before)
    expect("two ways at once", muga(home, "agent", "run", agent, "--percepts", "-", "--message", "x"), 2)
    expect("json alone", muga(home, "agent", "run", agent, "--json", "--message", "x"), 2)
    expect("nobody to ask", muga(home, "agent", "run", agent, "--percepts", "-", "--approve", "ask"), 2)


EVENTS = [event(1, "delivered", "tea", 14), event(2, "sold", "tea", 3), event(3, "sold", "tea", 2),
          event(4, "sold", "tea", 1), event(5, "counted", "coffee", 19), event(6, "sold", "coffee", 2),
          event(7, "delivered", "tea", 40), event(8, "sold", "tea", 39)]


def start(home, agent, session):
    going = ["--resume", session] if session else []
    return subprocess.Popen([MUGA, "agent", "run", agent, "--percepts", "-", "--json", *going], env=environment(home),
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def send(process, percept):
    process.stdin.write(json.dumps(percept) + "\n")
    process.stdin.flush()


def kill(process):
    process.kill()
    process.communicate()


def check_killed(home, agent, at, answered):
    """Killed with event `at` sent, or answered; the sender sends again what was not answered."""
    process = start(home, agent, None)
    for e in EVENTS[:at + 1]:
        send(process, e)
        if e is not EVENTS[at] or answered:
            if not process.stdout.readline():
                sys.exit(f"event {e['n']}: no answer: {process.stderr.read()}")
    kill(process)
    known = json.loads(expect("sessions", muga(home, "session", "list", "--json"), 0))
    process = start(home, agent, known[0]["session"] if known else None)
    for e in EVENTS[at + (1 if answered else 0):]:
        send(process, e)
        if not process.stdout.readline():
            sys.exit(f"event {e['n']} after a kill at {at}: {process.stderr.read()}")
    process.stdin.close()
    process.stdout.read()
    process.wait()
    same(f"killed at {at}, answered {answered}: orders", rows(home, "stock-keeper", "stock.db",
                                                              "SELECT item, count FROM orders"), [("tea", 40)] * 2)
    expect("levels in another session", muga(home, "agent", "run", agent, "--message", "how much tea?", "--message",
                                             "and coffee"), 0, "9 tea in stock, 40 ordered", "17 coffee in stock")
    waiting = json.loads(expect("what waits", muga(home, "approve", "list", "--json"), 0))
    same("one dear order waits", [w["arguments"]["cost"] for w in waiting], [540])
    expect("the chain", muga(home, "audit", "verify"), 0, "chain whole")


def check_stock_keeper(folder):
    agent = os.path.join(ROOT, "agents", "stock-keeper")
    for at in range(len(EVENTS)):
        for answered in (False, True):
            home = os.path.join(folder, f"stock-{at}-{answered}")
            os.mkdir(home)
            check_killed(home, agent, at, answered)
            shutil.rmtree(home)


def check_tests(home, folder):
    for name in ("thermostat", "stock-keeper"):
        agent = os.path.join(ROOT, "agents", name)
        report = json.loads(expect("its tasks", muga(home, "agent", "test", agent, "--json"), 0))
        same(f"{name}: tasks done", [r["id"] for r in report["results"] if not r["ok"]], [])
    wrong = os.path.join(folder, "wrong.jsonl")
    with open(wrong, "w", encoding="utf-8") as f:
        for expected in ({"knows": {"levels": {"tea": 31}}}, {"knows": {"lovels": {}}}, {"outcomes": ["escalate"]},
                         {"outcomes": []}):
            f.write(json.dumps({"id": "w", "messages": [{"percept": event(1, "delivered", "tea", 30)}],
                                "expect": expected}) + "\n")
    report = json.loads(expect("wrong", muga(home, "agent", "test", os.path.join(ROOT, "agents", "stock-keeper"),
                                             "--tasks", wrong, "--json"), 0))
    same("what isn't so is not done", report["completed"], 0)


def main():
    with tempfile.TemporaryDirectory() as folder:
        home = os.path.join(folder, "home")
        os.mkdir(home)
        check_thermostat(home)
        expect("the chain", muga(home, "audit", "verify"), 0, "chain whole")
        check_stock_keeper(folder)
        check_tests(home, folder)


main()
