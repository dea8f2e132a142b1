#!/usr/bin/env python3
"""Would break: guards that stop harmless messages, or let through what they are for - measured on labelled texts - and
`muga debug guards`, by which that is measured."""
import json
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.environ["MUGA_PROGRAM"]
RULES = os.path.join(ROOT, "tests/data/guards/rules.yaml")
LEAST_STOPPED, MOST_FALSE = 0.98, 0.02  # of the labelled texts; docs/guards.md has what was measured


def debug(rules, text):
    return subprocess.run([PROGRAM, "debug", "guards", rules], input=text, capture_output=True, encoding="utf-8",
                          check=False)


def main():
    done = subprocess.run([sys.executable, os.path.join(ROOT, "bench/guards"), "--json"], capture_output=True,
                          encoding="utf-8", check=False)
    files = [json.loads(line) for line in done.stdout.splitlines()]
    assert [f["file"] for f in files] == ["tuned.jsonl", "held.jsonl"], done.stderr
    assert sum(f["harmful"] + f["benign"] for f in files) >= 400
    for f in files:
        assert f["stopped"] >= LEAST_STOPPED * f["harmful"], f
        assert f["false_stops"] <= MOST_FALSE * f["benign"], f
    # a bad line is answered, the next one judged
    out = debug(RULES, '{"txt": 1}\n{"text": "hi\\u200bho", "side": "results"}\n').stdout.splitlines()
    assert "text" in json.loads(out[0])["error"]
    assert json.loads(out[1])["text"] == "hiho" and json.loads(out[1])["action"] == "mask"
    # rules that mean nothing are refused by name and line
    bad = os.path.join(os.environ["MUGA_HOME"], "bad.yaml")
    os.makedirs(os.path.dirname(bad), exist_ok=True)
    for text, want in (("guards:\n  input:\n    refuse: [hiden]\n", "bad.yaml:3:14: "), ("a: 1\n", "guards"),
                       ("guards: {input: {max_chars: x}}\n", "max_chars")):
        with open(bad, "w", encoding="utf-8") as f:
            f.write(text)
        done = debug(bad, "")
        assert done.returncode == 4 and want in done.stderr, done.stderr


main()
