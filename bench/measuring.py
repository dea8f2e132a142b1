"""What bench/peers, bench/scale and bench/plot share: the models, running programs, rows in a CSV file, tables.

A row is one figure of one round: date, machine, commit, engine, model, threads, figure, setting, round, value. Rows are
written as they are measured, and whatever is there already is not measured again, so that a run that was stopped goes
on where it was.
"""
import csv, datetime, json, os, pathlib, re, shutil, statistics, subprocess, sys, time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("MUGA_BUILD_DIR", ROOT / "build"))
MUGA = BUILD / "muga"
COLUMNS = ["date", "machine", "commit", "engine", "model", "threads", "figure", "setting", "round", "value"]


def say(text):
    print(text, file=sys.stderr, flush=True)


def stop(text):
    sys.exit(f"bench: {text}")


def run(argv):
    """Run a command to its end; what it printed. Ends the measuring when it fails."""
    argv = [str(a) for a in argv]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        stop(f"{' '.join(argv)} failed ({done.returncode}): {done.stderr.strip()[-500:]}")
    return done.stdout


def first_output(argv):
    """Seconds from exec to the first byte on stdout (or to the end), and peak resident MB of the child."""
    begin = time.monotonic()
    child = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL)
    child.stdout.read(1)
    seconds = time.monotonic() - begin
    child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = status
    if status:
        stop(f"{' '.join(map(str, argv))} failed ({status})")
    return seconds, usage.ru_maxrss / 1024


def processor():
    found = re.search(r"model name\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return found.group(1).strip() if found else "unknown processor"


def has_avx512():
    """Of these programs' own: with VNNI."""
    return "avx512_vnni" in pathlib.Path("/proc/cpuinfo").read_text()


def machine_file(kind):
    """bench/results/<processor>-<kind>.csv"""
    name = re.sub(r"[^A-Za-z0-9]+", "-", processor()).strip("-")
    return ROOT / "bench" / "results" / f"{name}-{kind}.csv"


def commit():
    done = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def warn_if_busy():
    load = os.getloadavg()[0]
    if load > 0.5:
        say(f"bench: this machine has other work (load {load:.1f}); figures taken now mean little")


# ---- rows ----

class Rows:
    """The CSV file: what is in it, and appending to it."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.rows = []
        if self.path.exists():
            with self.path.open(newline="") as f:
                self.rows = [dict(r, threads=int(r["threads"]), round=int(r["round"]), value=float(r["value"]))
                             for r in csv.DictReader(f)]
        self.common = [datetime.date.today().isoformat(), processor(), commit()]

    def say_others(self):
        """Rows are kept whatever muga has become since."""
        others = sorted({r["commit"] for r in self.rows} - {self.common[2]})
        if others:
            say(f"bench: {self.path} holds rows of muga at {', '.join(others)}, which stay; remove it to measure anew")

    def add(self, engine, model, threads, figure, setting, i_round, value):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        row = dict(zip(COLUMNS, [*self.common, engine, model, threads, figure, setting, i_round, value]))
        new = not self.path.exists() or self.path.stat().st_size == 0
        with self.path.open("a", newline="") as f:
            w = csv.DictWriter(f, COLUMNS)
            if new:
                w.writeheader()
            w.writerow(dict(row, value=f"{value:.6g}"))
        self.rows.append(row)

    def find(self, **wanted):
        return [r for r in self.rows if all(r[k] == v for k, v in wanted.items())]

    def has(self, **wanted):
        return bool(self.find(**wanted))

    def settings(self, **wanted):
        """{setting: (median of the rounds, rounds)}"""
        values = {}
        for r in self.find(**wanted):
            values.setdefault(r["setting"], {})[r["round"]] = r["value"]
        return {s: (statistics.median(v.values()), v) for s, v in values.items()}

    def best(self, smaller=False, **wanted):
        """Of the settings measured the best one: (median, {round: value}, setting), or None."""
        found = [(m, v, s) for s, (m, v) in self.settings(**wanted).items()]
        return (min if smaller else max)(found, key=lambda x: x[0]) if found else None

    def median(self, **wanted):
        found = self.best(**wanted)
        return found[0] if found else None


# ---- models ----

class Model:
    """name: in tables and rows; family: models for which the peer's best settings are taken to be the same; avx2: it is
    measured without AVX-512, too."""

    def __init__(self, name, family, source, plan, avx2=False):
        self.name, self.family, self.source, self.plan, self.avx2 = name, family, source, plan, avx2
        self.path = None

    def prepare(self, folder):
        """Make or fetch the file where it is not there."""
        kind, *rest = self.source
        if kind == "setup":
            run([ROOT / "scripts" / "setup", f"--{rest[0]}"])
            self.path = pathlib.Path(run([ROOT / "scripts" / "setup", f"--print-{rest[0]}"]).strip())
            return
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / (re.sub(r"[^A-Za-z0-9._]+", "-", self.name).lower() + ".gguf")
        if self.path.exists():
            return
        say(f"bench: making {self.path}")
        if kind == "quantise":
            run([ROOT / "scripts" / "setup", "--model"])
            source = run([ROOT / "scripts" / "setup", "--print-model"]).strip()
            run([MUGA, "quantize", source, self.path, rest[0]])
        else:
            shape, type_name, *options = rest
            run([BUILD / "bench" / "make_model", shape, type_name, self.path, *options])


SMALL, DEEP, LARGE, LARGEST, BRIEF = "small", "deep", "large", "largest", "brief"


def catalogue():
    """Speed depends on shapes and types, not on values: SmolLM2 in other types is quantised from its Q4_1, and the
    larger models are random. 135M and 270M have rows that aren't whole blocks of 256, so that much of their Q4_K_M is
    in other types; the 1.7B shape has them pure."""
    models = [Model("SmolLM2-135M Q4_1", "135M", ["setup", "model"], DEEP, avx2=True)]
    models += [Model(f"SmolLM2-135M {t}", "135M", ["quantise", t], DEEP if t == "Q4_0" else SMALL, t != "Q4_K_M")
               for t in ("Q4_0", "Q8_0", "Q4_K_M")]
    models += [Model("Gemma3-270M Q4_K_M", "270M", ["setup", "gemma"], DEEP, avx2=True)]
    models += [Model(f"1.7B shape {t}", "1.7B", ["make", "1.7b", t], LARGE)
               for t in ("Q4_0", "Q2_K", "Q3_K_M", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0")]
    models += [Model("3.8B shape Q4_K_M", "3.8B", ["make", "3.8b", "Q4_K_M"], LARGEST)]
    models += [Model("tiny shape Q4_0", "tiny", ["make", "tiny", "Q4_0"], BRIEF, avx2=True)]
    return models


def choose(models, pattern):
    """Those whose name holds one of the comma-separated words; all but the tiny one for None."""
    if not pattern:
        return [m for m in models if m.plan != BRIEF]
    words = [w.strip().lower() for w in pattern.split(",")]
    chosen = [m for m in models if any(w in m.name.lower() for w in words)]
    return chosen or stop(f"no model is called {pattern!r}; there are: {', '.join(m.name for m in models)}")


def model_facts(model):
    return json.loads(run([MUGA, "show", model.path, "--json"]))


def need_programs():
    for path in MUGA, BUILD / "bench" / "make_model":
        if not path.exists():
            stop(f"{path} is not there; run make, and cmake --build {BUILD.name} --target make_model")


def find_peer(given):
    """The folder of llama-bench, or None."""
    return peer_folder(given or os.environ.get("LLAMA_CPP_BIN") or os.path.dirname(shutil.which("llama-bench") or ""))


def find_peer_avx2(given):
    """The folder of a llama-bench that was built without AVX-512, or None."""
    return peer_folder(given or os.environ.get("LLAMA_CPP_AVX2_BIN"))


def peer_folder(found):
    if found and not os.access(os.path.join(found, "llama-bench"), os.X_OK):
        stop(f"{found} has no llama-bench")
    return pathlib.Path(found) if found else None


def muga_bench(model, threads, prompt, generate, depth, batch=1, runs=1, options=()):
    """The rows of one muga bench, as it prints them in JSON."""
    out = run([MUGA, "bench", model.path, "-p", prompt, "-n", generate, "-d", depth, "-b", batch, "-t", threads, "-r",
               runs, "--json", *options])
    return json.loads(out)["results"]


# ---- text ----

def shown(value, digits=3):
    """Three digits, as people read them."""
    if value is None:
        return "-"
    if value >= 10 ** (digits - 1):
        return f"{value:.0f}"
    return f"{value:.{max(0, digits - len(str(int(value))))}f}"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return "\n".join(lines + ["| " + " | ".join(r) + " |" for r in rows]) + "\n"


def put_between_marks(path, name, text):
    """Replace what stands between <!-- NAME --> and <!-- end of NAME --> of a page."""
    page = path.read_text()
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    at, to = page.find(begin), page.find(end)
    if at < 0 or to < at:
        stop(f"{path} has no lines {begin.strip()} and {end}")
    path.write_text(page[:at + len(begin)] + "\n" + text + "\n" + page[to:])
