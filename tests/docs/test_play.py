#!/usr/bin/env python3
"""The pages' commands, played as their readers would. If this failed, somebody who types what a page shows would get an
error, another exit code, or something that looks otherwise than what the page prints.

ctest: slow

Every call of muga or curl in a block of a page is played, or stands under LEFT_OUT with the reason. What a page leaves
to its reader (MODEL, SESSION, an approval's id) is put in: STAND_INS for all pages, Page.put for one."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field

sys.path[:0] = [os.path.join(os.getcwd(), "tests"), os.path.join(os.getcwd(), "tests", "support")]
from support.program import MUGA, ROOT  # noqa: E402
from support.server import Server, add_model  # noqa: E402

MODEL = "smollm2-135m-instruct"
EXPERT = "experts/tools-generic/tools-generic.gguf"
TINY = "tests/data/tiny.gguf"
HELD = f"muga agent run customer-service --session customer=7 --message 'i forgot my password' --model {MODEL}"
TOOLS = """[{"type": "function", "function": {"name": "weather", "description": "The weather of a city.", "parameters":
{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
"additionalProperties": false}}}]"""
APPROVAL = r"\b[0-9a-hj-km-np-tv-z]{4}-[0-9a-hj-km-np-tv-z]{4}\b"
failures = []
n_played = 0


@dataclass
class Page:
    path: str
    put: dict = field(default_factory=dict)  # pattern -> what stands in its place
    files: dict = field(default_factory=dict)  # name -> text
    before: list = field(default_factory=list)  # commands that the page takes for granted
    said: dict = field(default_factory=dict)  # beginning of a command -> its standard input
    codes: dict = field(default_factory=dict)  # beginning of a command -> its exit code, where it isn't 0
    served: bool = False  # a server runs meanwhile


def block_of(page, begins):
    """The block of a page whose first line begins so, without its indent."""
    with open(page, encoding="utf-8") as f:
        lines = f.read().split("\n")
    at = next(i for i, line in enumerate(lines) if line.strip().startswith(begins))
    out = []
    for line in lines[at:]:
        if line.strip() and not line.startswith("    "):
            break
        out.append(line[4:])
    return "\n".join(out).strip().split("\n\n")[0] + "\n"


STAND_INS = {r"\bMODEL\b": MODEL, r"\b(NAME|AGENT)\b": "customer-service", r'"\.\.\."': "hello"}
LABELS = "weather\nmoney\nfood\n"
EXAMPLES = "".join('{"text": "%s", "label": "%s"}\n' % (text, label) for label, texts in {
    "weather": ("is it raining", "will it snow", "how warm is it", "is there a storm", "sunny tomorrow?"),
    "money": ("what is my balance", "send ten euros", "pay the rent", "how much is left", "my card is lost"),
    "food": ("a recipe for soup", "where to eat", "I am hungry", "how long to boil an egg", "a table for two"),
}.items() for text in texts)

PAGES = [
    Page("README.md", served=True,
         put={r"MODEL small.gguf Q4_K_M": f"{TINY} small.gguf Q8_0", r"\bFILE PROMPT": "tools.json 'weather in Oslo?'",
              r"URL MODEL": f"URL {MODEL} hi -n 4", rf"run {MODEL}$": f"run {MODEL} hi -n 4", r" \[mine.gguf\]": ""},
         files={"Modelfile": block_of("docs/modelfile.md", "# Modelfile"), "tools.json": TOOLS,
                "notes.txt": "Notes of a workshop. " * 400},
         said={"muga agent run customer-service": "where is my order A16169\n"},
         codes={"muga agent run stock-keeper": 5, "muga agent learn": 4, "muga agent promote": 3}),
    Page("docs/adapters.md", put={r"billing\.gguf": EXPERT, r"\bTEXT\b": "LICENSE",
                                  r"--kl MODEL": f"--kl {MODEL} --chunks 1", r'hello$': "hello -n 4"}),
    Page("docs/agent.md", before=[HELD, "muga approve yes ID"], said={"muga agent run": "where is my order A16169\n"}),
    Page("docs/approval.md", before=[HELD.replace("customer=7", "customer=17")]),
    Page("docs/classify.md", put={r"--labels-file F": "--labels-file labels.txt", r"--examples E": "--examples e.jsonl",
                                  r"--calibrate C": "--calibrate c.json", r"--abstain 0\.1": "--abstain 0.9",
                                  r"< texts.*": "< texts"},
         files={"labels.txt": LABELS, "e.jsonl": EXAMPLES, "texts": "is it raining\npay my rent\n"}),
    Page("docs/constraint.md", put={r"accepts MODEL": "accepts"}),
    Page("docs/data.md", before=["muga data consent on customer-service", HELD, "muga approve yes ID",
                                 "muga agent run customer-service --resume SESSION"],
         put={r"--turn 2": "--turn 1", r" && muga train.*": ""}),
    Page("docs/keys.md"),
    Page("docs/lint.md", before=["muga agent new shop --dir agents/shop"], put={r"\.\.\.": ""}),
    Page("docs/modelfile.md", served=True,
         files={"Modelfile": block_of("docs/modelfile.md", "# Modelfile"), "tiny.gguf": TINY},
         put={r"mend tyres\?\"$": "mend tyres?\" -n 4", r"10m hello": "10m hello -n 4",
              r"stop workshop": f"stop {MODEL}"}),
    Page("docs/new-agent.md", said={"muga agent run shop": "is item B200 there?\n"}),
    Page("docs/perplexity.md", put={r"MODEL FILE": f"{TINY} LICENSE --chunks 1"}),
    Page("docs/quantize.md", put={r"IN OUT TYPE": f"{TINY} out.gguf Q8_0"}),
    Page("docs/rules.md"),
    Page("docs/serve-config.md", files={"muga.yaml": "version: 1\nlimits:\n  bodybytes: 3\n"},
         codes={"muga config check": 4}),
    Page("docs/server.md", served=True, put={r"localhost:8484": "HOST"}),
    Page("docs/session.md", before=[HELD],
         codes={"muga session resume": 5, "muga session delete --subject": 3}),
    Page("docs/template.md", put={r"MODEL-or-FILE.jinja": "t.jinja"},
         files={"t.jinja": "{{ x + 1 }}", "contexts.jsonl": '{"x": 1}\n'}),
    Page("docs/tools.md", put={r"FILE PROMPT": f"tools.json 'weather in Oslo?' --adapter {EXPERT}"},
         files={"tools.json": TOOLS}),
    Page("docs/synth.md", put={r"-n 5000": "-n 50"}),
]

# (page, beginning of a command) -> why it isn't played here.
TRAINING = "training takes minutes; cli/test_train.sh, cli/test_learning.py"
SERVED = "the test's own server is asked"
ELSEWHERE = "another machine's model; cli/test_remote.py, cli/test_data_synth.py"
LEFT_OUT = {
    ("README.md", "muga agent test"): "make demo prints it; cli/test_agent.sh",
    ("README.md", "muga train"): TRAINING,
    ("README.md", "muga serve"): SERVED,
    ("README.md", "muga key create"): "docs/keys.md is played; the server that is asked here would ask for the key",
    ("docs/adapters.md", "muga merge"): "cli/test_merge.sh",
    ("docs/agent.md", "muga agent fit"): "agents/test_experts",
    ("docs/convert.md", "muga convert"): "cli/test_convert.py",
    ("docs/evaluation.md", "muga agent test"): "minutes; cli/test_agent.sh",
    ("docs/learning.md", "muga agent"): TRAINING,
    ("docs/remote.md", "muga run"): ELSEWHERE,
    ("docs/sandbox.md", "muga ->"): "a drawing",
    ("docs/server.md", "muga serve"): SERVED,
    ("docs/service.md", "muga"): "as a service of systemd",
    ("docs/synth.md", "muga data synth customer-service -o new.jsonl --model"): "hours of a larger model",
    ("docs/synth.md", "muga data synth customer-service -o new.jsonl --remote"): ELSEWHERE,
    ("docs/synth.md", "muga train"): TRAINING,
    ("docs/training.md", "muga"): TRAINING,
}


def commands_of(path):
    """(line number, command, what the page prints of it) of each call in a page's blocks."""
    with open(path, encoding="utf-8") as f:
        lines = f.read().split("\n")
    fenced, found = False, []
    for i, line in enumerate(lines, 1):
        if line.startswith("```"):
            fenced = not fenced
        call = re.match(r"(\$ )?(?:build/)?((?:muga|curl) .*|[A-Z]=http.*)", line.strip())
        if not (fenced or line.startswith("    ")) or not call:
            continue
        shown = []
        for after in lines[i:] if call[1] or call[2].startswith("curl") else []:
            text = after.strip()
            if not text or text.startswith(("$ ", "```")) or (not fenced and not after.startswith("    ")):
                if not text and not shown and call[2].startswith("curl"):
                    continue  # a reply stands below the empty line
                break
            if re.match(r"(muga|curl|[A-Z]=) ?", text):
                break
            shown.append(text)
        command = re.sub(r"\s{2,}.*|\s#.*", "", call[2]) if not call[2].startswith("curl") else call[2]
        command = re.sub(r" \[[^\]]*\]", "", command).replace("build/muga", "muga")
        found.append((i, command, shown))
    return found


class Play:
    def __init__(self, page, server, work):
        self.page, self.server, self.work = page, server, work
        self.seen = {}
        self.env = {**os.environ, "MUGA_HOME": server.home if server else os.path.join(work, "home"),
                    "PATH": os.path.join(work, "bin") + ":" + os.environ["PATH"]}
        if server:
            self.env["MUGA_HOST"] = f"127.0.0.1:{server.port}"

    def put(self, command):
        for pattern, text in {**self.page.put, **STAND_INS}.items():
            command = re.sub(pattern, text, command)
        if self.server:
            command = command.replace("URL", self.server.url).replace("HOST", f"127.0.0.1:{self.server.port}")
        session, approval = self.seen.get("session", "SESSION"), self.seen.get("approval", "ID")
        command = re.sub(r"\bSESSION\b|\bs-[0-9a-z]*(?:\.\.\.)?(?=[\s\"]|$)", session, command)
        return re.sub(r"(?<=approve yes )\S+|(?<=approvals/)ID\b", approval, command)

    def run(self, command, said=""):
        done = subprocess.run(["sh", "-c", command.replace("curl ", "curl -sS ", 1)], cwd=self.work, env=self.env,
                              input=said, capture_output=True, text=True, timeout=300, check=False)
        text = done.stdout + done.stderr
        for what, pattern in (("session", r"\bs-[0-9a-z]{12}\b"), ("approval", APPROVAL)):
            found = re.findall(pattern, text)
            if found:
                self.seen[what] = found[-1]
        name = re.match(r"muga key create --name (\w+)", command)
        if name and done.returncode == 0:
            self.env[name[1].upper()] = done.stdout.strip()
            self.wait_for_keys()
        return done.returncode, done.stdout, done.stderr

    def wait_for_keys(self):
        """Until the server has seen that there are keys."""
        end = time.monotonic() + 60
        while self.server and time.monotonic() < end:
            try:
                urllib.request.urlopen(self.server.url + "/v1/models", timeout=60).close()
            except urllib.error.HTTPError as refused:
                if refused.code == 401:
                    return
            time.sleep(0.1)


def shape(line):
    """A line without what differs from run to run."""
    line = re.sub(r"\b[a-z]-[0-9a-z.]{4,}|" + APPROVAL, "ID", line)
    return re.sub(r"\s+", " ", re.sub(r"[0-9]+", "0", line)).strip()


def check_shown(where, shown, printed):
    """What the page prints is printed, in this order; `...` stands for whatever there is."""
    if shown and shown[0].startswith("{"):
        missing = [key for key in re.findall(r'"(\w+)":', " ".join(shown)) if f'"{key}":' not in printed]
        if missing:
            fail(where, f"the reply has no {missing}", printed)
        return
    lines, at = [shape(line) for line in printed.split("\n")], 0
    for line in shown:
        want = shape(line)
        if want == "...":
            continue
        head = want.removesuffix("...").strip()
        fits = [i for i in range(at, len(lines)) if lines[i] == want or (head != want and lines[i].startswith(head))]
        at = fits[0] + 1 if fits else None
        if at is None:
            fail(where, f"doesn't print: {line}", printed)
            return


def fail(where, what, *seen):
    failures.append(what)
    print(f"FAILED: {where}: {what}", *seen, sep="\n    ", flush=True)


def begins(table, command, default):
    return next((table[b] for b in table if command.startswith(b)), default)


def prepare(page, work, home):
    os.mkdir(os.path.join(work, "bin"))
    os.symlink(MUGA, os.path.join(work, "bin", "muga"))
    shutil.copytree(os.path.join(ROOT, "agents"), os.path.join(work, "agents"))
    for name in ("experts", "tests", "LICENSE"):
        os.symlink(os.path.join(ROOT, name), os.path.join(work, name))
    for name, text in page.files.items():
        if os.path.exists(text):
            shutil.copy(text, os.path.join(work, name))
            continue
        with open(os.path.join(work, name), "w", encoding="utf-8") as f:
            f.write(text)
    if not os.path.isdir(os.path.join(home, "manifests", MODEL)):
        add_model(home, MODEL, os.environ["MUGA_TEST_MODEL"], link=True)


def play(page, commands):
    global n_played
    with tempfile.TemporaryDirectory(prefix="muga-docs-") as work:
        home = os.path.join(work, "home")
        prepare(page, work, home)
        server = None
        if page.served:
            server = Server("--agents", os.path.join(work, "agents"), home=home, models=()).__enter__()
        try:
            p = Play(page, server, work)
            for command in page.before:
                p.run(p.put(command))
            for i, command, shown in commands:
                where, put = f"{page.path}:{i}", p.put(command)
                if put.startswith("A="):
                    p.env["A"] = put[2:]
                    continue
                code, out, err = p.run(put, begins(page.said, put, ""))
                n_played += 1
                if code != begins(page.codes, put, 0):
                    fail(where, f"{put}: exit {code}, not {begins(page.codes, put, 0)}", out + err)
                elif '"error":' in out and put.startswith("curl"):
                    fail(where, put, out)
                check_shown(where, shown, out + err)
        finally:
            if server:
                server.__exit__(*sys.exc_info())


def main():
    if not os.path.exists(os.environ.get("MUGA_TEST_MODEL", "")):
        print("skipped: the pages' commands; scripts/setup --model fetches the model that they name")
        return 77
    only = sys.argv[1:]
    for path in ["README.md", *sorted(f"docs/{name}" for name in os.listdir("docs") if name.endswith(".md"))]:
        page = next((p for p in PAGES if p.path == path), None)
        commands = []
        for i, command, shown in commands_of(path):
            if any(path == p and command.startswith(b) for p, b in LEFT_OUT):
                continue
            if command.startswith("curl") and not shutil.which("curl"):
                print("skipped: curl isn't here")
                continue
            if not page:
                fail(f"{path}:{i}", f"{command}: neither played nor left out; see tests/docs/test_play.py")
            commands.append((i, command, shown))
        if page and (not only or path in only):
            play(page, commands)
    print(f"{n_played} commands played, {len(failures)} failures")
    return bool(failures)


sys.exit(main())
