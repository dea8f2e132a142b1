#!/usr/bin/env python3
# ctest: slow
"""Would break: the tool-calling expert learns calls that its function's schema forbids, values that nobody said, or
functions that it is measured on; its card names other data or another adapter than is there; the generator depends on
more than its seed; a line it can't use is passed over; the check of the overlap lets a function or a request of the
sample through."""

import collections
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
TRAIN = ROOT / "experts" / "tools-generic" / "train"
SAMPLE = ROOT.parent / "shared" / "conformance" / "bfcl"
WORDS = "two three four five six seven eight nine ten eleven twelve".split()
bad = 0


def check(good, text):
    global bad
    if not good:
        bad += 1
        print(f"test_tools_data: {text}", file=sys.stderr)


def run(name, *args, folder=TRAIN):
    done = subprocess.run([sys.executable, "-B", folder / name, *map(str, args)], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def fits(value, schema, where):
    """What the generator's schemas say: type, enum, items, properties, required."""
    kinds = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict}
    kind = schema["type"]
    check(isinstance(value, kinds[kind]) and (kind == "boolean") == isinstance(value, bool), f"{where}: {value!r}")
    check(value in schema.get("enum", [value]), f"{where}: {value!r} is none of {schema.get('enum')}")
    if kind == "array":
        for item in value:
            fits(item, schema["items"], where)
    if kind == "object":
        known = list(schema["properties"])
        check(set(schema["required"]) <= set(value) <= set(known), f"{where}: {sorted(value)} of {known}")
        check([k for k in known if k in value] == list(value), f"{where}: not in the schema's order")
        for key, inner in value.items():
            if key in schema["properties"]:
                fits(inner, schema["properties"][key], f"{where}.{key}")


def leaves(value):
    if isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from leaves(inner)
    else:
        yield value


def is_said(value, request):
    """Numbers as figures or words, or as a percentage; values of other forms are looked at by their kind alone."""
    plain = request.replace(",", "")
    if isinstance(value, bool) or isinstance(value, str):
        return True
    near = [str(value), f"{value * 100:g}"]
    near += [WORDS[value - 2]] if isinstance(value, int) and 2 <= value <= 12 else []
    return any(re.search(rf"(?<![0-9]){re.escape(n)}(?![0-9])", text) for n in near for text in (plain, request))


def check_chats(chats):
    kinds = collections.Counter(chat["kind"] for chat in chats)
    check(set(kinds) == {"one", "many", "none", "lacking"} and kinds["none"] > len(chats) / 10, f"kinds: {kinds}")
    copied = texts = 0
    for chat in chats:
        tools = {tool["function"]["name"]: tool["function"] for tool in chat["tools"]}
        said, answer = chat["messages"][0]["content"], chat["messages"][1]
        calls = [call["function"] for call in answer.get("tool_calls", [])]
        check(len(tools) == len(chat["tools"]), f"a name twice: {list(tools)}")
        check((len(calls) > 1, len(calls) == 1, not calls) ==
              (chat["kind"] == "many", chat["kind"] == "one", chat["kind"] in ("none", "lacking")), f"{chat}")
        check(bool(calls) != bool(answer["content"]), f"neither call nor words, or both: {chat}")
        check(not re.search(r"[{}]|\[[^0-9-]|<\w", said), f"a slot that is left: {said!r}")
        for call in calls:
            check(call["name"] in tools, f"{call['name']} isn't offered")
            fits(call["arguments"], tools[call["name"]]["parameters"], call["name"])
            for value in leaves(call["arguments"]):
                check(is_said(value, said), f"{value!r} isn't said: {said!r}")
                texts += isinstance(value, str)
                copied += isinstance(value, str) and value.lower() in said.lower()
    check(copied > 0.7 * texts, f"{copied} of {texts} texts stand in the request")


def check_generate(work):
    rc, out, err = run("generate", "-n", 4000)
    chats = [json.loads(line) for line in out.splitlines()]
    check(rc == 0 and not err and len(chats) == 4000, f"generate: {rc} {err} {len(chats)}")
    check_chats(chats)
    lists = [json.dumps(chat["tools"]) for chat in chats]
    check(all(lists[i] == lists[i - i % 8] for i in range(len(lists))), "a row of eight has other tools")
    few = [run("generate", "-n", 200, "--seed", seed)[1] for seed in (5, 5, 6)]
    check(few[0] == few[1] and few[0] != few[2], "the seed doesn't decide alone")
    held = {tool["function"]["description"] for line in run("generate", "-n", 400, "--part", "held")[1].splitlines()
            for tool in json.loads(line)["tools"]}
    learned = {tool["function"]["description"] for chat in chats for tool in chat["tools"]}
    check(len(held) >= 12 and not held & learned and len(learned) >= 120, f"{len(held)} held, {len(learned)} learned")
    check(run("generate", "-n", 0)[0] == 1, "-n 0 is taken")
    whole = work / "train.jsonl"
    whole.write_text(out, encoding="utf-8")
    return whole


def check_card():
    """The card names the data that the adapter learned, and the adapter that is there."""
    card = (TRAIN.parent / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^ +experts/tools-generic/train/generate (.*?) > \w+\.jsonl$", card, re.MULTILINE)
    contents = [run("generate", *command.split())[1].encode() for command in commands]
    for content in contents + [(TRAIN.parent / "tools-generic.gguf").read_bytes()]:
        digest = hashlib.sha256(content).hexdigest()
        check(digest in card, f"nothing in the card has the digest {digest}")
    check(contents, "the card doesn't say how its data is made")
    if "MUGA_PROGRAM" in os.environ:
        done = subprocess.run([os.environ["MUGA_PROGRAM"], "show", TRAIN.parent / "tools-generic.gguf"],
                              capture_output=True, text=True)
        check(done.returncode == 0 and re.search(r"^rank +8$", done.stdout, re.MULTILINE),
              f"{done.stdout}{done.stderr}")


def check_lines(work):
    """Lines that can't be used are named."""
    folder = work / "train"
    shutil.copytree(TRAIN, folder)
    good = "== a\nfn do_it | Do it.\n- what! string (x; y) | What.\n"
    cases = ((good + "> Do it.\n", "bad.txt:4: .*not said"), (good + "> Do {that}.\n", "bad.txt:4: .*unknown"),
             ("== a\nfn Do-It | Do it.\n", "bad.txt:2: .*snake_case"), (good + "- n text | N.\n", "bad.txt:4: "),
             (good + "- n int | N.\n", "bad.txt:4: type int"), (good + "what\n", "bad.txt:4: neither"),
             (good + "- n int @nothing | N.\n", "bad.txt:4: "), (good + "fn do_it | Again.\n", "there twice"))
    for text, wanted in cases:
        (folder / "functions" / "bad.txt").write_text(text, encoding="utf-8")
        rc, _, err = run("generate", "-n", 1, folder=folder)
        check(rc == 1 and re.search(wanted, err) and "Traceback" not in err, f"{wanted}: {rc} {err}")


def check_overlap(work, whole):
    sample = work / "sample"
    sample.mkdir()
    chats = whole.read_text(encoding="utf-8").splitlines()
    item = json.loads(next(line for line in chats if json.loads(line)["kind"] == "one"))
    other = {"messages": [{"role": "user", "content": "xylophone quagmire"}],
             "tools": [{"type": "function", "function": {"name": "zz_top", "description": "Nothing of that."}}]}
    name, about = item["tools"][0]["function"]["name"], item["tools"][0]["function"]["description"]
    cases = {"names      1": {**other, "tools": [{"type": "function", "function": {"name": name.upper()}}]},
             "about      1": {**other, "tools": [{"type": "function",
                                                  "function": {"name": "zz_top", "description": about.upper()}}]},
             "requests   1": {**other, "messages": item["messages"][:1]}, "requests   0": other}
    for figure, row in cases.items():
        (sample / "x.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
        rc, out, err = run("overlap", "--sample", sample, whole)
        check(rc == (not figure.endswith("0")) and figure in out, f"{figure}: {rc} {out}{err}")
    (sample / "x.jsonl").write_text("{}\n", encoding="utf-8")
    rc, _, err = run("overlap", "--sample", sample, whole)
    check(rc == 1 and "x.jsonl:1" in err and "Traceback" not in err, f"a line that is no item: {rc} {err}")
    rc, _, err = run("overlap", "--sample", work / "nothing", whole)
    check(rc == 1 and "nothing" in err and "Traceback" not in err, f"a sample that isn't there: {rc} {err}")
    if not SAMPLE.is_dir():
        print(f"test_tools_data: no {SAMPLE}; the overlap with the sample is not measured", file=sys.stderr)
        return
    rc, out, err = run("overlap", "--sample", SAMPLE, whole)
    check(rc == 0, f"overlap with the sample: {out}{err}")


with tempfile.TemporaryDirectory() as folder:
    check_card()
    check_lines(pathlib.Path(folder))
    check_overlap(pathlib.Path(folder), check_generate(pathlib.Path(folder)))
sys.exit(bad > 0)
