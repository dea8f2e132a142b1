#!/usr/bin/env python3
"""bench/peers, bench/scale and bench/plot over the tiny model and a llama.cpp of two scripts. Would break: the tables
and plots in docs/SPEED.md - a figure measured twice or not at all, a run that doesn't go on where it was stopped, the
peer held to its worse setting, a ratio upside down, AVX2 held against AVX-512 although there is a llama.cpp without, a
page written outside of its marks, a plot that is no picture."""
# ctest: unthreaded (the threads are those of the programs that are measured, or played)

import csv
import json
import os
import pathlib
import stat
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

ROOT = pathlib.Path.cwd()
PAGE = "before\n<!-- peers -->\nold\n<!-- end of peers -->\nafter\n"
# Twice as fast with flash attention, ten times with two threads; counts its calls in a file beside it.
LLAMA_BENCH = f"""#!{sys.executable}
import json, sys
open(sys.argv[0] + ".calls", "a").write(" ".join(sys.argv[1:]) + "\\n")
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
tests = [(int(given["-p"]), 0), (0, int(given["-n"]))]
print(json.dumps([{{"n_prompt": p, "n_gen": n, "n_threads": int(t),
                   "samples_ts": [(SPEED if given["-fa"] == "0" else 2 * SPEED) * (10 if t == "2" else 1)]}}
                  for t in given["-t"].split(",") for p, n in tests if p or n]))
"""
AVX512 = "avx512_vnni" in pathlib.Path("/proc/cpuinfo").read_text()
bad = 0


def fail(text):
    global bad
    bad += 1
    print(f"not ok: {text}")


def peers(work, *arguments, code=0, **variables):
    env = dict(os.environ, LLAMA_CPP_BIN=str(work / "bin"), **variables)
    if not variables:
        env.pop("LLAMA_CPP_AVX2_BIN", None)
    got = subprocess.run([sys.executable, ROOT / "bench" / "peers", "--folder", work / "models", "--out",
                          work / "out.csv", *arguments], capture_output=True, text=True, env=env)
    if got.returncode != code:
        fail(f"exit {got.returncode}, not {code}: peers {arguments}: {got.stderr}")
    return got.stdout


def rows(work):
    with (work / "out.csv").open(newline="") as f:
        return list(csv.DictReader(f))


def main(work):
    for folder, name, text in (("bin", "llama-bench", LLAMA_BENCH.replace("SPEED", "100.25")),
                               ("bin", "llama-completion", "#!/bin/sh\necho x\n"),
                               ("avx2", "llama-bench", LLAMA_BENCH.replace("SPEED", "50"))):
        (work / folder).mkdir(exist_ok=True)
        (work / folder / name).write_text(text)
        (work / folder / name).chmod(stat.S_IRWXU)
    page = work / "page.md"
    page.write_text(PAGE)
    tiny = ["--models", "tiny"]

    peers(work, *tiny, "--rounds", "1", "--minutes", "0")
    if (work / "out.csv").exists():
        fail("measures although its time is over")
    out = peers(work, *tiny, "--rounds", "1", "--write", page)
    first = rows(work)
    key = [tuple(r[k] for k in ("engine", "model", "threads", "figure", "setting", "round")) for r in first]
    if len(set(key)) != len(key):
        fail("a figure of one round is there twice")
    wanted = {("muga", t, f) for t in "12" for f in ("prefill 64 @ 0", "decode 8 @ 0", "decode 8 @ 64", "start ms")}
    wanted |= {("llama.cpp", t, f) for _, t, f in wanted}
    if not wanted <= {(r["engine"], r["threads"], r["figure"]) for r in first}:
        fail(f"not everything was measured: {first}")
    for r in first:
        if r["engine"] == "llama.cpp" and "@" in r["figure"] and float(r["value"]) != 100.25 * (
                2 if r["setting"] == "fa 1" else 1) * (10 if r["threads"] == "2" else 1):
            fail(f"not the peer's figure with this setting and these threads: {r}")
    if out.strip() not in page.read_text() or not page.read_text().startswith("before\n<!-- peers -->\n"):
        fail(f"the page: {page.read_text()}")
    if not page.read_text().endswith("<!-- end of peers -->\nafter\n") or "old" in page.read_text():
        fail(f"what stood outside of the marks: {page.read_text()}")
    line = next(row for row in out.splitlines() if row.startswith("| tiny shape Q4_0 | 8 | 0 | 1 |"))
    mine, theirs, ratio = [cell.strip() for cell in line.split("|")][5:8]
    if theirs != "200" or abs(float(ratio.rstrip("x")) - float(mine) / 200.5) > 0.02 * float(mine) / 200.5:
        fail(f"the peer's better setting, and muga over it: {line}")

    calls = (work / "bin" / "llama-bench.calls").read_text().count("\n")
    peers(work, *tiny, "--rounds", "1")
    if rows(work) != first or (work / "bin" / "llama-bench.calls").read_text().count("\n") != calls:
        fail("what is there is measured again")
    peers(work, *tiny, "--rounds", "2")
    second = [r for r in rows(work) if r["round"] == "2" and r["engine"] == "llama.cpp" and "@" in r["figure"]]
    if {r["setting"] for r in second} != {"fa 1"} or len(second) != 6:
        fail(f"the second round is the better setting's alone: {second}")
    if not peers(work, "--tables").startswith(first[0]["machine"]):
        fail("tables without measuring")

    without_avx512(work)

    peers(work, "--models", "nosuch", code=1)
    peers(work, *tiny, "--peer", str(work), code=1)
    peers(work, *tiny, "--threads", "0", code=2)
    peers(work, "--tables", "--write", str(work / "out.csv"), code=1)


def without_avx512(work):
    """Where the processor has AVX-512: muga's AVX2 beside the only llama.cpp, until one without is given."""
    if not AVX512:
        return
    out = peers(work, "--tables")
    if "llama.cpp with all there is" not in out or "| 200 |" not in out.split("### Without AVX-512")[1]:
        fail(f"AVX2 beside the llama.cpp there is: {out}")
    out = peers(work, "--models", "tiny", "--rounds", "1", LLAMA_CPP_AVX2_BIN=str(work / "avx2"))
    table = out.split("### Without AVX-512")[1].split("###")[0]
    cells = [[c.strip() for c in line.split("|")][2:6] for line in table.splitlines() if line.startswith("| tiny")]
    wanted = [(figure, *of) for figure in ("prefill 64", "decode 8") for of in (("1", "100"), ("2", "1000"))]
    if "built for AVX2" not in table or [(c[0], c[1], c[3]) for c in cells] != wanted:
        fail(f"AVX2 beside a llama.cpp without AVX-512: {table}")
    if "against llama.cpp built for AVX2 (Q4_0)" not in out:
        fail(f"the bars don't name what AVX2 is held against: {out}")
    calls = (work / "avx2" / "llama-bench.calls").read_text().splitlines()
    if [c.split(" -fa ")[1][0] for c in calls] != ["0", "1"] or not all("-d 0 -t 2,1" in c for c in calls):
        fail(f"one process for each setting, at depth 0 alone: {calls}")


def scale_and_plots(work):
    command = [sys.executable, ROOT / "bench" / "scale", "--brief", "--folder", work / "models", "--out",
               work / "scale.csv", "--peer", work / "bin"]
    for arguments in ["--minutes", "0"], [], []:
        got = subprocess.run([*command, *arguments], capture_output=True, text=True)
        if got.returncode:
            fail(f"scale: exit {got.returncode}: {got.stderr}")
    with (work / "scale.csv").open(newline="") as f:
        figures = [(r["engine"], r["model"], r["figure"]) for r in csv.DictReader(f)]
    if len(set(figures)) != len(figures) or ("llama.cpp", "tiny shape Q4_0", "decode 32 @ 512") not in figures:
        fail(f"scale measures something twice or not at all: {figures}")
    plots = subprocess.run([sys.executable, ROOT / "bench" / "plot", "--peers", work / "out.csv", "--scale",
                            work / "scale.csv", "--to", work / "img"], capture_output=True, text=True)
    if plots.returncode:
        fail(f"plot: {plots.stderr}")
    for name in "context", "streams", "sizes":
        picture = xml.etree.ElementTree.parse(work / "img" / f"{name}.svg").getroot()
        if len(picture.findall(".//{http://www.w3.org/2000/svg}polyline")) < 4:
            fail(f"{name}.svg has no lines")


def shared():
    program = pathlib.Path(os.environ["MUGA_BUILD_DIR"]) / "bench" / "bench_shared"
    sizes = ["-c", "4", "-p", "128", "-q", "8", "-n", "3"]
    got = subprocess.run([program, "tests/data/tiny.gguf", *sizes], capture_output=True, text=True)
    if got.returncode or json.loads(got.stdout)["adopted"] != 3 * 128:
        fail(f"three of four clients take the prompt from the first: {got.stdout}{got.stderr}")
    for wrong in ["tests/data/tiny.gguf", "-c", "0"], ["tests/data/tiny.gguf", "-c"], []:
        if subprocess.run([program, *wrong], capture_output=True).returncode != 2:
            fail(f"not refused: bench_shared {wrong}")


with tempfile.TemporaryDirectory() as folder:
    main(pathlib.Path(folder))
    scale_and_plots(pathlib.Path(folder))
shared()
sys.exit(1 if bad else 0)
