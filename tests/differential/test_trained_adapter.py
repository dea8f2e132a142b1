#!/usr/bin/env python3
"""An adapter that `muga train` wrote, in muga and in llama.cpp (by the Python package xllamacpp): log-probabilities of
the likeliest next tokens must be about the same, as near to each other as without the adapter. Would break: what is
trained here would be of no use there - a name, a shape, alpha, or the base that it is bound to written otherwise.

Without the package the test is skipped. To have it: `pip install xllamacpp`, and PYTHON or PATH with that Python first.
"""

import array
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile

MUGA = os.environ["MUGA_PROGRAM"]
MODEL = "tests/data/tiny.gguf"
PROMPTS = [[5, 6, 7, 8, 9, 10], [40, 41, 42, 60, 61], [100, 20, 101, 21, 102, 22, 103, 23], [65, 66]]
N_TOP = 10


def train(work):
    data, adapter = work / "data.jsonl", work / "trained.gguf"
    data.write_text("".join(json.dumps({"prompt": f"number {i}", "completion": f"it is {i * 7}"}) + "\n"
                            for i in range(24)), encoding="utf-8")
    subprocess.run([MUGA, "train", MODEL, data, "-o", adapter, "--rank", "4", "--epochs", "4", "--batch", "4",
                    "--lr", "0.01", "--threads", "1", "--json"], check=True, timeout=300, stdout=subprocess.DEVNULL)
    return adapter


def peer_rows(xllamacpp, adapter):
    """For each prompt {id: log-probability} of the likeliest tokens; the port it opens is the loopback's."""
    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.warmup, params.cpuparams.n_threads = MODEL, 256, False, 1
    if adapter:
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(adapter), 1.0)]
    server = xllamacpp.Server(params)
    rows = []
    for ids in PROMPTS:
        got = server.handle_completions({"prompt": ids, "n_predict": 1, "n_probs": N_TOP, "temperature": 0,
                                         "cache_prompt": False})
        tops = got["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        rows.append({t["id"]: t["logprob"] for t in tops})
    return rows


def muga_rows(work, options):
    rows = []
    for ids in PROMPTS:
        path = work / "logits"
        subprocess.run([MUGA, "debug", "logits", MODEL, "--ids", ",".join(map(str, ids)), "-o", path, *options],
                       check=True, timeout=300)
        row = array.array("f", path.read_bytes())
        largest = max(row)
        log_sum = largest + math.log(sum(math.exp(v - largest) for v in row))
        rows.append([v - log_sum for v in row])
    return rows


def distance(ours, theirs):
    """Root mean square over the tokens that they have."""
    squares = [(mine[i] - v) ** 2 for mine, row in zip(ours, theirs) for i, v in row.items()]
    assert len(squares) == N_TOP * len(PROMPTS)
    return math.sqrt(sum(squares) / len(squares))


def main():
    try:
        import xllamacpp
    except ImportError:
        print("skipped: no xllamacpp for this Python")
        sys.exit(77)
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        adapter = train(work)
        plain, trained = muga_rows(work, []), muga_rows(work, ["--adapter", adapter])
        theirs = peer_rows(xllamacpp, adapter)
        noise, near = distance(plain, peer_rows(xllamacpp, None)), distance(trained, theirs)
        far = distance(plain, theirs)
        print(f"trained: {near:.4f} apart; without the adapter {noise:.4f}; the adapter moves by {far:.4f}")
        sys.exit(near > 3 * noise + 0.01 or far < 10 * near)


main()
