#!/usr/bin/env python3
"""muga bench, as a person and as a script use it. Would break: a measurement that was asked for and left out, a table,
CSV or JSON that can't be read, figures that contradict each other, a wrong option let through, results lost at Ctrl-C
or a terminal too narrow for the bar. How fast anything is, no test says."""

import csv
import fcntl
import io
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios

MUGA = os.environ["MUGA_PROGRAM"]
TINY = "./tests/data/tiny.gguf"
bad = 0


def fail(text):
    global bad
    bad += 1
    print(f"not ok: {text}")


def bench(code, *arguments):
    got = subprocess.run([MUGA, "bench", *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if got.returncode != code:
        fail(f"exit {got.returncode}, not {code}: bench {' '.join(arguments)}: {got.stderr}")
    if code and got.stdout:
        fail(f"an error belongs on stderr: bench {' '.join(arguments)}")
    return got.stdout


def table():
    out = bench(0, TINY, "-p", "8,16", "-n", "4", "-d", "0,70", "-b", "1,3", "-t", "1,2")
    for test in "prefill 8 @ 0", "prefill 16 @ 70", "decode 4 x 1 @ 0", "decode 4 x 3 @ 70":
        for threads in "1", "2":
            rows = [line.split() for line in out.splitlines() if line.startswith(test + " ")]
            if [row[len(test.split())] for row in rows] != ["1", "2"]:
                fail(f"{test} isn't there once with {threads} threads:\n{out}")
    head = next((line for line in out.splitlines() if line.startswith("TEST")), "")
    column = head.find("TOKENS/S")
    for line in out.splitlines():
        if line.startswith(("prefill", "decode")) and (line[column - 1] != " " or line[column] == " "):
            fail(f"the columns don't stand under each other:\n{out}")


def forms():
    arguments = [TINY, "-p", "8", "-n", "4", "-d", "0,70", "-b", "1,32", "-r", "2", "--kv", "f32", "--isa", "ref"]
    rows = list(csv.DictReader(io.StringIO(bench(0, *arguments, "--csv"))))
    got = json.loads(bench(0, *arguments, "--json"))
    for key in "architecture", "weight_bytes", "load_ms", "peak_bytes":
        if key not in got:
            fail(f"the JSON has no {key}")
    if (got.get("isa"), got.get("kv"), got.get("model")) != ("ref", "f32", TINY):
        fail(f"the JSON says otherwise what was measured: {got}")
    asked = [("prefill", "8", "0", "1"), ("decode", "4", "0", "1"), ("decode", "4", "0", "32"),
             ("prefill", "8", "70", "1"), ("decode", "4", "70", "1"), ("decode", "4", "70", "32")]
    if [(r["test"], r["tokens"], r["depth"], r["batch"]) for r in rows] != asked:
        fail(f"the CSV has other rows than were asked for: {rows}")
    if [tuple(str(r[k]) for k in ("test", "tokens", "depth", "batch")) for r in got["results"]] != asked:
        fail(f"the JSON has other rows than were asked for: {got}")
    for r in got["results"]:
        if len(r["runs"]) != 2 or not r["runs"][0] <= r["tps"] <= r["runs"][1] or r["tps"] <= 0:
            fail(f"a median that is none: {r}")
        if r["test"] == "decode" and not (r["read_gbps"] > 0 and r["bandwidth_gbps"] > 0 and r["limit"] == "memory"):
            fail(f"no limit beside decode: {r}")  # ref has no integer peak, so it is the memory's


def options():
    plain = json.loads(bench(0, TINY, "-p", "8", "-n", "0", "-d", "0", "--no-limits", "--json"))
    if [r["test"] for r in plain["results"]] != ["prefill"] or "share" in plain["results"][0]:
        fail(f"more than was asked for: {plain}")
    lengths = {r["depth"] for r in json.loads(bench(0, TINY, "-r", "1", "--json"))["results"]}
    if lengths != {0, 1024}:  # its context is 2048
        fail(f"default lengths that don't fit are left out, and only those: {lengths}")
    for wrong in (["-b", "0"], ["-b", "257"], ["-p", "1,,2"], ["-p", ""], ["-p", "1x"], ["-d", "-1"], ["-t", "0"],
                  ["-t", "1,"], ["-p", "1,2,3,4,5,6,7,8,9"], ["-d", "99999999999"], ["-r", "0"], ["-r", "101"],
                  ["-p", "0", "-n", "0"], ["--csv", "--json"], ["--kv", "q1"], ["--isa", "mmx"], ["extra"]):
        bench(2, TINY, *wrong)
    bench(2)
    bench(4, TINY, "-p", "4096")
    bench(4, TINY, "-d", "2048", "-n", "1")
    bench(3, "./no-such.gguf")
    if "--batch LIST" not in subprocess.run([MUGA, "help", "bench"], capture_output=True, text=True).stdout:
        fail("help bench doesn't name its options")


LONG = [TINY, "-p", "8", "-n", "500000", "-d", "0", "--override", "llama.context_length=int:1000000"]


def interrupted():
    child = subprocess.Popen([MUGA, "bench", *LONG], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    said = child.stderr.readline()  # "measuring 50 %": the first of the two is there
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=300)
    if child.returncode != 130 or "prefill 8 @ 0" not in out or "decode" in out or "interrupted" not in err:
        fail(f"Ctrl-C: exit {child.returncode}, after {said!r}:\n{out}\n{err}")


def narrow():
    pid, fd = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 2, 10, 0, 0))
        os.execv(MUGA, [MUGA, "bench", TINY, "-p", "8", "-n", "4", "-d", "0", "-r", "1", "--no-limits"])
    shown = b""
    while True:
        try:
            got = os.read(fd, 65536)
        except OSError:
            break
        if not got:
            break
        shown += got
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    bars = [b for b in shown.split(b"\r") if b.rstrip().endswith(b"%") and b"@" not in b]
    if code or b"decode 4 x 1 @ 0" not in shown or any(len(b) > 9 for b in bars):
        fail(f"on a narrow terminal: exit {code}, {shown!r}")


for test in table, forms, options, interrupted, narrow:
    test()
sys.exit(1 if bad else 0)
