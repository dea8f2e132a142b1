#!/usr/bin/env python3
"""The training data of customer-service. Would break: an expert would be trained on labels the agent doesn't have, on
order numbers that its manifest reads otherwise, on fewer or other messages than the page says - or on the evaluation's
own wording, which would make every rate measured with it worthless."""

import collections
import importlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

AGENT = pathlib.Path.cwd() / "agents/customer-service"
TRAIN = AGENT / "train"
FOLLOWUPS = ("followup_id", "followup_last", "followup_stuck", "followup_next")  # said after the agent spoke
bad = 0


def check(good, what):
    global bad
    if not good:
        bad += 1
        print(f"not ok: {what}")


def run(tool, *arguments, given=None):
    done = subprocess.run([sys.executable, TRAIN / tool, *map(str, arguments)], input=given, capture_output=True,
                          text=True, encoding="utf-8", env={**os.environ, "PYTHONIOENCODING": "utf-8"})
    return done.returncode, done.stdout, done.stderr


def words():
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(TRAIN))
    return importlib.import_module("words")


def manifest_rule():
    """The manifest's normalise rule: PCRE2's branch reset becomes an ordinary group, of which the ones that took part
    are joined."""
    rule = re.search(r'match: "(.*)"', (AGENT / "agent.yaml").read_text(encoding="utf-8")).group(1)
    return re.compile(rule.replace("(?i)", "").replace("(?|", "(?:"), re.IGNORECASE | re.ASCII)


def numbers_in(rule, text):
    return {"A" + "".join(g for g in m.groups() if g) for m in rule.finditer(text)}


def check_phrases():
    rows = [json.loads(line) for line in open(TRAIN / "phrases.jsonl", encoding="utf-8")]
    manifest = (AGENT / "agent.yaml").read_text(encoding="utf-8")
    labels = set(re.findall(r"^    (\w+):$", manifest[manifest.index("\n  labels:"):], re.MULTILINE))
    counts = collections.Counter(row["class"] for row in rows)
    for name, n in counts.items():
        check(n >= 300 or name in FOLLOWUPS, f"{name} has {n} phrases, fewer than 300")
    check(sum(counts[name] for name in FOLLOWUPS) >= 250, f"{counts} have too few that answer or go on")
    seen = collections.Counter((row["class"] in FOLLOWUPS, row["text"].lower()) for row in rows)
    check(max(seen.values()) == 1, f"written twice: {seen.most_common(1)}")
    for row in rows:
        check(labels.issuperset(row["labels"]), f"labels the manifest lacks: {row}")
        slots = row["arguments"].get("order_id", [])
        wants = "order_status" in row["labels"]
        check(wants == (bool(slots) or "missing" in row), f"an order without a number, or the other way: {row}")
        check(all(slot in row["text"] or slot == "{before}" for slot in slots), f"a number that isn't said: {row}")


def check_chats(rule, chats):
    texts = set()
    for chat in chats:
        said = "\n".join(m["content"] for m in chat["messages"] if m["role"] == "user")
        texts.add(said)
        answer = chat["messages"][-1]
        numbers = {json.loads(call["function"]["arguments"]).get("order_id") for call in answer.get("tool_calls", [])}
        read = numbers_in(rule, said)
        check(numbers - {None} <= read, f"the manifest reads {read}, not {numbers}: {said!r}")
        if chat["class"] in ("missing_id", "followup_stuck"):
            check(not read, f"the manifest reads {read} where no number was given: {said!r}")
        check(answer["role"] == "assistant" and (answer["content"] or numbers), f"no answer: {chat}")
    check(len(texts) == len(chats), f"{len(chats)} chats, of which {len(texts)} differ")


def check_tools(chat):
    manifest = (AGENT / "agent.yaml").read_text(encoding="utf-8")
    tools = {tool["function"]["name"]: tool["function"] for tool in chat["tools"]}
    check(set(re.findall(r"^  - name: (\w+)$", manifest, re.MULTILINE)) == set(tools) - {"hand_over"},
          f"other tools than the manifest's: {sorted(tools)}")
    for name, tool in tools.items():
        same = name == "hand_over" or f"description: {tool['description']}\n" in manifest
        check(same, f"{name} is described otherwise")
    pattern = tools["order_status"]["parameters"]["properties"]["order_id"]["pattern"]
    check(f'pattern: "{pattern}"' in manifest, "another pattern than the manifest's")
    told = [rest.replace("{eta}", "{{ o.eta }}") for _, rest in words().STATUSES]
    check(all(rest in manifest for rest in told), f"orders are told otherwise than by the manifest: {told}")
    escalating = re.findall(r"^    (\w+):\n(?:      .*\n)*?      escalate:", manifest, re.MULTILINE)
    reasons = tools["hand_over"]["parameters"]["properties"]["reason"]["enum"]
    check(sorted(escalating) == sorted(reasons), f"reasons {reasons}; the manifest escalates {escalating}")


def check_labels(work):
    """What the adapter learns: the loop's own prompt, numbers masked as there; nothing of it is held."""
    manifest = (AGENT / "agent.yaml").read_text(encoding="utf-8")
    expert = manifest[manifest.index("\n  expert:"):]
    instruction = re.search(r"^    instruction: (.*)$", expert, re.MULTILINE).group(1)
    mask = re.search(r'^    mask: "([^"]*)"', expert, re.MULTILINE).group(1)
    names = re.findall(r"^    (\w+):$", manifest[manifest.index("\n  labels:"):], re.MULTILINE)
    rc, out, err = run("generate", "-n", 22000, "--seed", 3, "--target", "label")
    check(rc == 0 and not err, f"--target label: {rc} {err}")
    rule, learned = manifest_rule(), set()
    for chat in map(json.loads, out.splitlines()):
        system, said, answer = (m["content"] for m in chat["messages"])
        learned.add(said)
        check(system == instruction and answer == " ".join(n for n in names if n in chat["labels"]), f"{chat}")
        check(not numbers_in(rule, said), f"a number that the loop would mask: {said!r}")
    rc, held, err = run("generate", "-n", 400, "--target", "text", "--part", "held")
    rows = [json.loads(line) for line in held.splitlines()]
    check(rc == 0 and len(rows) == 400 and all(set(row["labels"]) <= set(names) for row in rows), f"held: {rc} {err}")
    known = {json.loads(line)["text"] for line in open(AGENT / "examples.jsonl", encoding="utf-8")}
    same = [row["text"] for row in rows if len(row["text"].split()) > 3 and row["text"] in known
            or rule.sub(mask, row["text"]) in learned and len(row["text"].split()) > 3]
    check(not same, f"held messages that are learned: {same}")
    chats = work / "labels.jsonl"
    chats.write_text(out, encoding="utf-8")
    rc, out, err = run("overlap", chats)
    check(rc == 0, f"overlap of what the adapter learns: {out}{err}")


def check_generate(work):
    rc, out, err = run("generate")
    check(rc == 0 and not err, f"generate: {rc} {err}")
    chats = [json.loads(line) for line in out.splitlines()]
    check(len(chats) >= 20000, f"{len(chats)} chats; 20,000 are wanted")
    check_chats(manifest_rule(), chats)
    check_tools(chats[0])
    whole = work / "train.jsonl"
    whole.write_text(out, encoding="utf-8")

    few = [run("generate", "-n", 300, "--seed", seed)[1] for seed in (5, 5, 6)]
    check(few[0] == few[1] and few[0] != few[2], "the seed doesn't decide alone")
    rc, held, err = run("generate", "-n", 300, "--part", "held")
    check(rc == 0 and len(held.splitlines()) > 200, f"the held part: {rc} {err}")
    check_labels(work)
    check(run("generate", "-n", 0)[0] == 1, "-n 0 is taken")
    return whole


def check_overlap(work, whole):
    for name in (TRAIN / "phrases.jsonl", whole, AGENT / "examples.jsonl"):
        rc, out, err = run("overlap", name)
        check(rc == 0, f"overlap of {name.name}: {out}{err}")
    leaked = work / "leaked.jsonl"
    task = json.loads((AGENT / "eval/held.jsonl").read_text(encoding="utf-8").splitlines()[0])
    leaked.write_text(json.dumps({"text": task["messages"][0].upper().replace("A44825", "a-10 293")}) + "\n",
                      encoding="utf-8")
    rc, out, _ = run("overlap", leaked)
    check(rc == 1 and "same      1" in out, f"an evaluation message in the training data passes: {out}")
    leaked.write_text('{"text": "fine"}\nnot JSON\n', encoding="utf-8")
    rc, _, err = run("overlap", leaked)
    check(rc == 1 and "leaked.jsonl:2" in err, f"a line that isn't JSON: {rc} {err}")
    rc, _, err = run("overlap", "--eval", work / "nothing")
    check(rc == 1 and "nothing" in err and "Traceback" not in err, f"tasks that aren't there: {rc} {err}")


check_phrases()
with tempfile.TemporaryDirectory() as folder:
    check_overlap(pathlib.Path(folder), check_generate(pathlib.Path(folder)))
sys.exit(bad > 0)
