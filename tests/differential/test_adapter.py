#!/usr/bin/env python3
"""The small model with its adapter, in muga and in llama.cpp: log-probabilities of the same ids must be about the
same, as near to each other as without the adapter. Would break: an adapter that was made for llama.cpp would do
something else here - A or B the wrong way round, alpha or rank left out, a matrix forgotten.

Needs a llama-perplexity of llama.cpp; without it the test is skipped. To have it:

    LLAMA_CPP_BIN=DIR ctest --test-dir build -R differential/test_adapter
"""

import array
import math
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

MUGA = os.environ["MUGA_PROGRAM"]
MODEL, ADAPTER = "tests/data/tiny.gguf", "tests/data/tiny-adapter.gguf"
N_CTX = 128


def find_peer():
    folder = os.environ.get("LLAMA_CPP_BIN")
    program = str(pathlib.Path(folder) / "llama-perplexity") if folder else shutil.which("llama-perplexity")
    if not program or not os.access(program, os.X_OK):
        print("skipped: no llama-perplexity (LLAMA_CPP_BIN names its folder)")
        sys.exit(77)
    return program


def peer_rows(program, work, options):
    """(ids of a window, {position: log-probabilities}); what the file can't hold, below the largest by 16, is None.

    The file: "_logits_", n_ctx, n_vocab, windows, ids of all windows; then for each position from the middle of a
    window on, but the last: f32 step, f32 least, one 16-bit number of steps a token."""
    path = work / "logits"
    command = [program, "-m", MODEL, "-f", "README.md", "-c", str(N_CTX), "--chunks", "1", "-t", "1",
               "--save-all-logits", path, *options]
    got = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if got.returncode:
        sys.exit(f"llama-perplexity: exit {got.returncode}: {got.stderr[-2000:]}")
    data = path.read_bytes()
    n_ctx, n_vocab, windows = struct.unpack_from("<iii", data, 8)
    assert data[:8] == b"_logits_" and n_ctx == N_CTX and windows == 1
    ids = struct.unpack_from(f"<{n_ctx}i", data, 20)
    at, rows = 20 + 4 * n_ctx, {}
    for position in range(n_ctx // 2, n_ctx - 1):
        step, least = struct.unpack_from("<ff", data, at)
        steps = struct.unpack_from(f"<{n_vocab}H", data, at + 8)
        rows[position] = [least + step * s if s else None for s in steps]
        at += 2 * (4 + 2 * ((n_vocab + 1) // 2))
    return ids, rows


def muga_rows(work, ids, options):
    path = work / "muga"
    subprocess.run([MUGA, "debug", "logits", MODEL, "--ids", ",".join(map(str, ids)), "--all", "-o", path, *options],
                   check=True, timeout=300)
    logits = array.array("f", path.read_bytes())
    n_vocab = len(logits) // len(ids)
    rows = {}
    for position in range(len(ids)):
        row = logits[position * n_vocab:(position + 1) * n_vocab]
        largest = max(row)
        log_sum = largest + math.log(sum(math.exp(v - largest) for v in row))
        rows[position] = [v - log_sum for v in row]
    return rows


def distance(ours, theirs):
    """Root mean square over what both have."""
    squares = [(a - b) ** 2 for p, row in theirs.items() for a, b in zip(ours[p], row) if b is not None]
    return math.sqrt(sum(squares) / len(squares))


def main():
    program = find_peer()
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        ids, plain = peer_rows(program, work, [])
        ours = {name: muga_rows(work, ids, options) for name, options in
                (("plain", []), ("whole", ["--adapter", ADAPTER]), ("half", ["--adapter", ADAPTER + ":0.5"]))}
        noise = distance(ours["plain"], plain)
        bad = 0
        for name, options in (("whole", ["--lora", ADAPTER]), ("half", ["--lora-scaled", ADAPTER + ":0.5"])):
            same, theirs = peer_rows(program, work, options)
            assert same == ids
            near, far = distance(ours[name], theirs), distance(ours["plain"], theirs)
            print(f"{name}: {near:.4f} apart; without the adapter {noise:.4f}; the adapter moves by {far:.4f}")
            if near > 3 * noise + 0.01 or far < 10 * near:
                print(f"not ok: {name}")
                bad += 1
        sys.exit(bad > 0)


main()
