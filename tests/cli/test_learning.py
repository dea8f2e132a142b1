#!/usr/bin/env python3
"""Would break: `muga agent learn`, `versions`, `promote`, `rollback`. An agent of two labels on the tiny model of the
tree, whose decisions the tiny adapter changes: tasks that ask for what the adapter decides show a rise, and tasks that
ask for the opposite a fall."""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

MUGA = os.environ["MUGA_PROGRAM"]
ADAPTER = os.path.abspath("tests/data/tiny-adapter.gguf")
WORDS = "the a my dog order house green tree water seven please where thanks open door light paper music".split()
MANIFEST = """version: 1
agent: door
kind: goal
model: %s
session: {customer: {type: integer}}
state: {resolution: {type: [string, 'null'], default: null}, pending: {type: [string, 'null'], default: null}}
goal: {statement: Help., done: state.resolution is not none}
escalation: {to: human}
intent:
  examples: examples.jsonl
  neighbours: 0
  model_weight: 10
  floor: 0
  margin: 0
  unsure: What?
  failed: A colleague helps.
  labels:
    person: {about: a human, escalate: A colleague takes over.}
    hello: {about: a greeting, ask: What can I do?}
"""
bad = 0
memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # each task syncs a journal of its own
work = tempfile.mkdtemp(dir=memory)
agent = os.path.join(work, "door")
env = dict(os.environ, MUGA_HOME=os.path.join(work, "home"), TMPDIR=work)


def muga(*arguments):
    done = subprocess.run([MUGA, *arguments], capture_output=True, text=True, env=env, stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout, done.stderr


def check(name, code, text, *arguments):
    """muga agent ARGUMENTS: its exit code, and text in what it says."""
    global bad
    got, out, err = muga("agent", *arguments)
    if got != code or text not in out + err:
        bad += 1
        print(f"not ok: {name}: exit {got}, not {code}; expected {text!r} in\n{out}{err}")
    return out


def expect(name, condition):
    global bad
    if not condition:
        bad += 1
        print("not ok:", name)


def write(path, text):
    with open(os.path.join(agent, path), "w") as f:
        f.write(text)


def manifest(learning):
    write("agent.yaml", MANIFEST % os.path.join(agent, "tiny.gguf") + learning)


def task(i, outcome):
    words = " ".join(WORDS[(i * 7 + j * 3 + i // len(WORDS)) % len(WORDS)] for j in range(1 + i % 4))
    return {"id": f"t{i}", "session": {"customer": 1}, "messages": [words], "expect": {"outcome": outcome}}


def write_tasks(path, tasks):
    write(path, "".join(json.dumps(t) + "\n" for t in tasks))


def decided(*options):
    """Which of the pool the agent hands over."""
    write_tasks("pool.jsonl", [task(i, "escalate") for i in range(120)])
    pool = os.path.join(agent, "pool.jsonl")
    out = check("the pool", 0, "results", "test", agent, "--tasks", pool, "--json", *options)
    return [r["ok"] for r in json.loads(out)["results"]]


def in_use():
    code, out, _ = muga("agent", "versions", agent, "--json")
    return [v["version"] for v in json.loads(out) if v["in_use"]][0] if code == 0 else None


def records():
    _, out, _ = muga("audit", "log", "--json")
    return [r["payload"] for r in json.loads(out) if r["kind"] == "adapter"]


def build():
    os.makedirs(os.path.join(agent, "eval"))
    shutil.copy("tests/data/tiny.gguf", agent)
    write("examples.jsonl", '{"text": "let me talk to a human", "labels": ["person"]}\n'
                            '{"text": "hello there", "labels": ["hello"]}\n')
    manifest("")
    before, after = decided(), decided("--adapter", ADAPTER)
    other = [i for i in range(120) if after[i] and not before[i]]
    same = [i for i in range(120) if after[i] == before[i]]
    expect("the adapter changes enough decisions", len(other) >= 12)
    write_tasks("eval/held.jsonl", [task(i, "escalate") for i in other[:10]])
    write_tasks("eval/same.jsonl", [task(i, "escalate" if before[i] else "ask") for i in same[:10]])
    write_tasks("eval/lost.jsonl", [task(other[0], "ask")] + [task(i, "escalate") for i in other[:10]])


def gate(more=""):
    return "learning:\n  gate: {held_out: eval/held.jsonl, others: []%s}\n" % more


def no_promotion():
    check("nothing learned yet", 0, "the manifest's own", "versions", agent)
    check("no gate", 4, "key 'gate' is missing", "promote", agent, ADAPTER)
    manifest(gate(", regression: [../x.jsonl]"))
    check("tasks from elsewhere", 4, "yaml:21:62: key learning.gate.regression[0]: the tasks must", "promote", agent)
    manifest(gate(", regression: [eval/none.jsonl]"))
    check("tasks that aren't there", 3, "none.jsonl", "promote", agent)
    manifest(gate())
    check("no candidate", 3, "has no candidate", "promote", agent)
    check("no such version", 3, "no version 7", "promote", agent, "7")
    check("no adapter", 4, "not an adapter", "promote", agent, os.path.join(agent, "tiny.gguf"))
    check("nothing to roll back to", 3, "nothing to roll back to", "rollback", agent)
    check("no number", 2, "is no version", "rollback", agent, "x")
    expect("nothing was decided", records() == [] and in_use() == 0)


def refusals():
    manifest(gate(", regression: [eval/same.jsonl], safety: [eval/lost.jsonl]"))
    check("a safety task lost", 1, "safety eval/lost.jsonl: 1 lost, where none may be", "promote", agent, ADAPTER)
    expect("a refusal is on the record, and changes nothing", records()[-1]["action"] == "refuse" and in_use() == 0)
    expect("with its table", [s["ok"] for s in records()[-1]["gate"]["sets"]] == [True, True, False])
    check("refused ones aren't candidates", 3, "has no candidate", "promote", agent)
    check("nor to be rolled back to", 5, "is refused, not promoted", "rollback", agent, "1")
    manifest("learning:\n  gate: {held_out: eval/same.jsonl, others: []}\n")
    check("no rise", 1, "0 won, 0 lost", "promote", agent, "1")


def promotion():
    manifest(gate(", regression: [eval/same.jsonl]"))
    out = check("a rise", 0, '"decision":"promote"', "promote", agent, "1", "--json")
    held = json.loads(out)["gate"]["sets"][0]
    expect("its numbers", (held["won"], held["lost"], held["level"]) == (10, 0, 0.05))
    expect("its chance", abs(held["p"] - 2**-10) < 1e-12)
    expect("it is in use", in_use() == 1)
    check("already in use", 2, "in use already", "promote", agent, "1")
    check("a run", 0, "What can I do?", "run", agent, "--session", "customer=1", "-m", "the a my")
    start = json.loads(muga("audit", "log", "--json")[1])
    info = [r["payload"]["info"] for r in start if r["kind"] == "session_start"][-1]
    expect("the session's record names it", info["adapter"]["version"] == 1 and len(info["adapter"]["sha256"]) == 64)
    tasks = os.path.join(agent, "eval/held.jsonl")
    check("the test uses it", 0, '"completed":10', "test", agent, "--tasks", tasks, "--json")
    expect("and the replay finds it", "the same to the bit" in muga("audit", "replay")[1])


def damage():
    folder = os.path.join(work, "home", "adapters")
    path = os.path.join(folder, os.listdir(folder)[0])
    whole = open(path, "rb").read()
    run = ["run", agent, "--session", "customer=1", "-m", "the a my"]
    with open(path, "r+b") as f:
        f.seek(len(whole) - 5)
        f.write(b"x")
    check("a damaged adapter isn't used", 4, "version 1 of door: its file is damaged", *run)
    check("back to the manifest's own", 0, "uses version 0", "rollback", agent)
    check("that runs", 0, "What can I do?", *run)
    check("a damaged candidate", 4, "is damaged", "promote", agent, "1")
    check("given again", 0, "promoted: door uses version 1", "promote", agent, ADAPTER)
    expect("the file is mended", open(path, "rb").read() == whole)
    with open(os.path.join(agent, "tiny.gguf"), "ab") as f:
        f.write(b"\0" * 32)
    check("another base", 4, "version 1 was trained on the model with SHA-256", *run)
    shutil.copy("tests/data/tiny.gguf", agent)
    check("the right one", 0, "What can I do?", *run)


def killed():
    """At any moment the old version or the new one is in use, and the chain is whole."""
    seen = set()
    muga("agent", "rollback", agent, "0")
    begun = time.monotonic()
    check("promoted again", 0, "promoted", "promote", agent, "1")
    whole = time.monotonic() - begun
    for i in range(12):
        muga("agent", "rollback", agent, "0")
        p = subprocess.Popen([MUGA, "agent", "promote", agent, "1"], env=env, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
        time.sleep(whole * (0.75 + 0.025 * i))
        p.send_signal(signal.SIGKILL)
        p.wait()
        seen.add(in_use())
        expect("the chain is whole after a kill", muga("audit", "verify")[0] == 0)
    expect("old or new", seen <= {0, 1})
    if in_use() == 0:  # the last kill came early
        check("promoted in the end", 0, "promoted", "promote", agent, "1")


def turns():
    """Turns that went well, and some that a person corrects."""
    for words in ["see the latest one", "my latest order", "latest one please", "what was the latest", "latest thing"]:
        muga("agent", "run", agent, "--session", "customer=1", "-m", words)
    _, out, _ = muga("data", "list", "--json")
    for row in json.loads(out):
        label = "person" if "thing" in row["content"]["message"] or "what" in row["content"]["message"] else "hello"
        got, _, err = muga("data", "correct", row["session"], "--turn", str(row["turn"]), "--label", label)
        expect("a correction: " + err, got == 0)


def learning():
    policy = "  subject: [customer]\n  examples: {weight: 0.5}\n  adapter: {at_least: %d}\n"
    manifest(gate() + policy % 4)
    check("no consent", 5, "consent", "learn", agent)
    expect("consent", muga("data", "consent", "on", agent)[0] == 0)
    check("no turns", 4, "0 turns to learn from, and 4 are needed", "learn", agent)
    turns()
    check("past successes are heard", 0, "results", "test", agent, "--learned", "--tasks",
          os.path.join(agent, "eval/held.jsonl"), "--json")
    manifest(gate() + policy % 6)
    check("too few", 4, "5 turns to learn from, and 6 are needed", "learn", agent)
    manifest(gate() + policy % 5)
    small = ["--rank", "2", "--epochs", "1", "--held-out", "0.3", "--threads", "1"]
    check("on top of what can't be gone on from", 4, "training goes on from pairs of one rank", "learn", agent, *small)
    muga("agent", "rollback", agent, "0")
    out = check("an adapter", 0, "candidate: version 2 of door", "learn", agent, *small)
    expect("it says what to do next", "muga agent promote door" in out)
    left = os.listdir(os.path.join(work, "home", "learning"))
    expect("no turn's words lie about", left == ["door.gguf.csv"])
    listed = json.loads(muga("agent", "versions", agent, "--json")[1])[2]
    expect("its origin", listed["origin"].startswith("5 turns, data ") and listed["state"] == "candidate")
    expect("reading was recorded", '"trained"' in muga("audit", "log", "--json")[1])
    check("the same turns, the same adapter", 0, "candidate: version 2 of door", "learn", agent, *small)
    check("the gate decides on the newest candidate", 1, "refused", "promote", agent)
    folder = os.path.join(work, "home", "adapters")
    shutil.copy(os.path.join(folder, f"sha256-{listed['sha256']}.gguf"), os.path.join(agent, "expert.gguf"))
    manifest("adapter: expert.gguf\n" + gate() + policy % 5)
    check("on top of the expert, with its rank", 0, "rank 2", "learn", agent, *small[2:])
    manifest("adapter: {file: expert.gguf, scale: 0.5}\n" + gate() + policy % 5)
    check("a weaker expert", 4, "counts 0.5", "learn", agent, *small[2:])
    write("beside.jsonl", '{"prompt": "a", "completion": "b"}\n{"prompt": 7}\n')
    manifest("adapter: expert.gguf\n" + gate() + policy.replace("%d", "5, beside: beside.jsonl"))
    check("data beside them, by line", 4, "line 2: ", "learn", agent, *small)
    write("beside.jsonl", '{"prompt": "a", "completion": "b"}\n')
    check("beside the expert", 0, "5 turns and 1 lines beside them", "learn", agent, *small)
    expect("the chain is whole", muga("audit", "verify")[0] == 0)


def main():
    build()
    no_promotion()
    refusals()
    promotion()
    damage()
    killed()
    learning()
    shutil.rmtree(work)
    print("ok" if bad == 0 else f"{bad} failed")
    sys.exit(bad != 0)


main()
