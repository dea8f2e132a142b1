"""Would break: `muga classify` gives a label where it should give none, reads a calibration of another model, lets a
wrong example or label through without saying its line, or says something else on the terminal than in JSON."""
import json
import os
import subprocess
import sys
import tempfile

MUGA = os.environ["MUGA_PROGRAM"]
TINY = "./tests/data/tiny.gguf"
OTHER = "./tests/data/tiny-adapter.gguf"
bad = 0


def broken(what):
    global bad
    bad += 1
    print("not ok: " + what)


def run(*args, text=b""):
    return subprocess.run([MUGA, "classify", *args], input=text, capture_output=True, timeout=300)


def check(name, code, pattern, *args, text=b""):
    r = run(*args, text=text)
    if r.returncode != code or pattern.encode() not in r.stdout + r.stderr:
        broken(f"{name}: exit {r.returncode} (expected {code}), expected {pattern!r} in:\n{r.stdout}{r.stderr}")
    return r


def write(folder, name, data):
    path = os.path.join(folder, name)
    with open(path, "wb") as f:
        f.write(data)
    return path


def test_answers():
    r = check("plain", 0, "\t", TINY, "--labels", "red,green", "a", "b")
    lines = r.stdout.decode().splitlines()
    if len(lines) != 2 or any(line.split("\t")[1] not in ("red", "green") for line in lines):
        broken(f"a line a text: {lines}")
    r = check("json", 0, '"label":', TINY, "--labels", "red,green", "--json", text=b"a\r\nb")
    values = [json.loads(line) for line in r.stdout.splitlines()]
    for v, line in zip(values, lines):
        p = {name: x["p"] for name, x in v["labels"].items()}
        sure = line.split("\t")[0]
        if abs(sum(p.values()) - 1) > 1e-12 or v["label"] != max(p, key=p.get) or f"{v['p']:.3f}" != sure:
            broken(f"json differs from the lines: {v} {line}")
    if [v["text"] for v in values] != ["a", "b"]:
        broken(f"lines of standard input: {values}")
    one = run(TINY, "--labels", "red,green", "--json", "-t", "1", "a").stdout
    if one != run(TINY, "--labels", "red,green", "--json", "-t", "3", "a").stdout:
        broken("threads change a probability")


def test_labels(work):
    two = write(work, "two", b"r\tthe colour red\r\ng\n")
    r = check("names and words", 0, "", TINY, "--labels-file", two, "--json", "a")
    if list(json.loads(r.stdout)["labels"]) != ["r", "g"]:
        broken(f"names of labels: {r.stdout}")
    for name, data, pattern in (
            ("blank line", b"a\n\nb\n", ":2: the label is empty"), ("NUL", b"a\nb\0c\n", ":2: the label holds"),
            ("not UTF-8", b"a\n\xffb\n", ":2: the label is not UTF-8"), ("no words", b"a\nb\t\n", ":2: no words"),
            ("one label", b"a\n", "one label is nothing to choose from"), ("none", b"", "there are no labels"),
            ("equal", b"a\nb\na\n", "labels 1 and 3 have the same"), ("a dash", b"a\n-\n", "stands for no label")):
        check(name, 4, pattern, TINY, "--labels-file", write(work, "bad", data), "x")
    many = b"".join(b"label %d\n" % i for i in range(10001))
    check("10,001 labels", 4, ":10001: more than 10000 labels", TINY, "--labels-file", write(work, "bad", many), "x")
    many = write(work, "many", many[:60000])
    check("too many to list", 4, "more than the context", TINY, "--labels-file", many, "--list", "x")
    check("many", 0, "\tlabel ", TINY, "--labels-file", many, "x")
    check("an empty one", 4, "--labels, number 2: the label is empty", TINY, "--labels", "a,,b", "x")
    check("missing file", 3, "nosuch", TINY, "--labels-file", os.path.join(work, "nosuch"), "x")


def test_calibration(work):
    rows = [{"text": f"text {i}", "label": ["red", "green"][i % 2]} for i in range(40)] + [{"text": "x", "label": None}]
    examples = write(work, "examples", "\n".join(json.dumps(r) for r in rows).encode())
    file = os.path.join(work, "calibration.json")
    common = [TINY, "--labels", "red,green"]
    check("fit", 0, "fitted to 40 examples", *common, "--examples", examples, "--calibrate", file)
    direct = run(*common, "--examples", examples, "--json", "hello")
    kept = run(*common, "--calibrate", file, "--json", "hello")
    if direct.returncode or direct.stdout != kept.stdout or direct.stdout == run(*common, "--json", "hello").stdout:
        broken(f"what was kept isn't what was fitted: {direct.stdout} {kept.stdout} {kept.stderr}")
    check("a risk", 0, "of the 41 examples", *common, "--calibrate", file, "--abstain", "0.95", "hello")
    check("too low a risk", 4, "can't be shown with these 41 examples", *common, "--calibrate", file, "--abstain",
          "0.0001", "hello")
    check("other labels", 4, 'number 2 of its labels is "green", not "blue"', TINY, "--labels", "red,blue",
          "--calibrate", file, "x")
    check("another prompt", 4, "its instruction is", *common, "--calibrate", file, "--instruction", "What?", "x")
    check("another model", 4, "it is of another model", *common, "--adapter", OTHER, "--calibrate", file, "x")
    check("a list", 4, "its prompt doesn't list the labels", *common, "--calibrate", file, "--list", "x")
    check("no calibration", 4, "calibration.json", *common, "--calibrate", write(work, "calibration.json", b"{"), "x")
    check("not there", 3, "nosuch", *common, "--calibrate", os.path.join(work, "nosuch"), "x")
    check("nowhere to write", 3, "no such", *common, "--examples", examples, "--calibrate", work + "/none/file")
    check("over the examples", 2, "", *common, "--examples", examples, "--calibrate", examples)


def test_examples(work):
    for name, data, pattern in (
            ("unknown label", b'{"text": "a", "label": "red"}\n{"text": "b", "label": "blue"}\n', ':2: label "blue"'),
            ("no label", b'{"text": "a"}\n', ":1: an example is"), ("no JSON", b"\n", ":1: example"),
            ("empty text", b'{"text": "a", "label": "red"}\n{"text": "", "label": "red"}\n', "line 2: the text"),
            ("NUL in a label", b'{"text": "a", "label": "red\\u0000"}\n', ":1: label"),
            ("none at all", b"", "0 examples with a label")):
        check(name, 4, pattern, TINY, "--labels", "red,green", "--examples", write(work, "bad", data), "x")


def test_texts_and_options(work):
    check("empty text", 4, "line 2: the text is empty", TINY, "--labels", "a,b", text=b"x\n\ny\n")
    check("not UTF-8", 4, "line 1: the text is not UTF-8", TINY, "--labels", "a,b", text=b"\xff\n")
    check("too long", 4, "line 2: the prompt has", TINY, "--labels", "a,b", "--ctx", "128", text=b"x\n" + b"y " * 500)
    check("no labels", 2, "give the labels once", TINY, "x")
    check("labels twice", 2, "give the labels once", TINY, "--labels", "a,b", "--labels-file", "x", "x")
    check("a risk of what", 2, "--abstain needs --examples", TINY, "--labels", "a,b", "--abstain", "0.1", "x")
    check("no risk", 2, "between 0 and 1", TINY, "--labels", "a,b", "--calibrate", "x", "--abstain", "1", "x")
    check("raw", 0, "\t", TINY, "--labels", "a,b", "--raw", "x")
    check("raw and calibrated", 2, "leave out --calibrate", TINY, "--labels", "a,b", "--raw", "--calibrate", "x", "x")
    check("no model", 3, "nosuch", "nosuch", "--labels", "a,b", "x")
    check("help", 0, "--labels-file FILE", "--help")


def main():
    with tempfile.TemporaryDirectory() as work:
        test_answers()
        test_labels(work)
        test_calibration(work)
        test_examples(work)
        test_texts_and_options(work)
    sys.exit(1 if bad else 0)


main()
