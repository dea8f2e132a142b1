#!/usr/bin/env python3
"""The conformance sets through `muga debug tokens`, as other programs compare with us: text and text_hex, both flags.
Would break: the verb would give other ids than the library, or lose a line, a flag or a byte on the way."""

import json
import lzma
import os
import subprocess
import sys
import tempfile

MUGA = os.environ["MUGA_PROGRAM"]
SHARED = os.path.join(os.environ["MUGA_SHARED"], "conformance", "tokenizers")
VOCABULARIES = os.environ.get("MUGA_TEST_VOCABULARIES", "")


def vocabulary(name, folder):
    """Path of the set's GGUF, or None."""
    packed = os.path.join(SHARED, name, "vocab.gguf.xz")
    if not os.path.exists(packed):
        path = os.path.join(VOCABULARIES, f"ggml-vocab-{name}.gguf")
        return path if os.path.exists(path) else None
    path = os.path.join(folder, name + ".gguf")
    with lzma.open(packed) as source, open(path, "wb") as to:
        to.write(source.read())
    return path


def tokens(path, lines):
    text = "".join(json.dumps(line) + "\n" for line in lines)
    done = subprocess.run([MUGA, "debug", "tokens", path], input=text, capture_output=True, text=True, timeout=300,
                          check=False)
    if done.returncode:
        sys.exit(f"{path}: exit {done.returncode}: {done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def main():
    if not os.path.isdir(SHARED):
        print(f"skipped: {SHARED} is not there; put the shared reference data beside the project or set MUGA_SHARED")
        sys.exit(1 if os.environ.get("CI") == "true" else 77)
    n_wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in sorted(os.listdir(SHARED)):
            path = vocabulary(name, folder)
            if not path:
                print(f"skipped: the vocabulary of {name} is not there; run scripts/test-vocabularies")
                continue
            with open(os.path.join(SHARED, name, "cases.jsonl"), encoding="utf-8") as f:
                cases = [json.loads(line) for line in f]
            keys = ("text", "text_hex", "add_special", "parse_special")
            # Every other text also goes in as bytes: the two forms mean the same.
            lines = [{k: c[k] for k in keys if k in c} for c in cases]
            for line in lines[::2]:
                if "text" in line:
                    line["text_hex"] = line.pop("text").encode().hex()
            got = tokens(path, lines)
            wrong = [(c, ids) for c, ids in zip(cases, got) if c["ids"] != ids]
            n_wrong += len(wrong) + abs(len(cases) - len(got))
            print(f"{name}: {len(cases)} cases, {len(wrong)} wrong")
            for case, ids in wrong[:3]:
                print(f"  {case}\n  got {ids}")
    sys.exit(1 if n_wrong else 0)


if __name__ == "__main__":
    main()
