#!/usr/bin/env python3
"""What the pages name. If this failed, a page would send its reader to a verb, an option, a file, a test, a page or a
heading that isn't there (any more), or a page under docs/ would be one that nobody finds."""

import glob
import os
import re
import shlex
import sys

sys.path.insert(0, os.path.join(os.getcwd(), "tests"))
from support.program import muga  # noqa: E402

HOME = os.environ["MUGA_HOME"]
PAGES = sorted(["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", *glob.glob("docs/**/*.md", recursive=True),
                *glob.glob("agents/*/*.md"), *glob.glob("experts/*/*.md")])
# Folders whose files pages name by their path, and kinds of tests that they name without `tests/`.
FOLDERS = ("agents", "bench", "bindings", "cmake", "deploy", "deps", "docs", "examples", "experts", "include", "prices",
           "scripts", "src", "tests")
KINDS = tuple(sorted(os.path.basename(d) for d in glob.glob("tests/*") if os.path.isdir(d)))
SOURCES = tuple(sorted(os.path.basename(d) for d in glob.glob("src/*") if os.path.isdir(d)))
failures = []


def fail(page, what):
    failures.append(what)
    print(f"FAILED: {page}: {what}", flush=True)


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


# ---- verbs and options ----

def options_of(*verb):
    """The options that `muga help VERB` lists."""
    code, out, _ = muga(HOME, "help", *verb)
    if code:
        sys.exit(f"muga help {' '.join(verb)}: exit {code}")
    return set(re.findall(r"^  (?:-\w, )?(--[a-z][a-z0-9-]*)", out, re.M)) | set(re.findall(r"^  (-\w)[ ,]", out, re.M))


def read_verbs():
    """{("run",): options, ("agent", "test"): options, ("agent",): None, ...}"""
    verbs = {}
    for verb in re.findall(r"^  ([a-z]+) ", muga(HOME, "help")[1], re.M):
        if verb in ("help", "version"):
            verbs[(verb,)] = set()
            continue
        out = muga(HOME, "help", verb)[1]
        below = re.findall(r"^  ([a-z]+)(?: .*)?\n      \S", out, re.M) if f"usage: muga {verb} VERB" in out else []
        verbs[(verb,)] = None if below else options_of(verb)
        for name in below:
            verbs[(verb, name)] = options_of(verb, name)
    return verbs


VERBS = read_verbs()
ALL_OPTIONS = set().union(*[o for o in VERBS.values() if o])


def code_of(text):
    """(line number, code) of each line of a block and of each span in backticks."""
    fenced = False
    for i, line in enumerate(text.split("\n"), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            yield i, line.strip()
        else:
            for span in re.findall(r"`([^`]+)`", line):
                yield i, span


def commands_of(code):
    """The words of each call of muga in a line of code."""
    for call in re.split(r"&&|\||;|(?<!\w)then ", code):
        call = re.sub(r"\s{2,}.*|\s#.*", "", call.strip().removeprefix("$ "))  # what is said about it stands apart
        if not re.match(r"(?:build/)?muga [a-z]", call):
            continue
        try:
            yield shlex.split(call)[1:]
        except ValueError:
            yield call.split()[1:]


def check_command(where, words):
    verb = tuple(words[:1])
    if verb == ("ls",):
        verb = ("list",)
    if verb not in VERBS:
        return fail(where, f"`muga {words[0]}`: there is no such verb")
    if verb[0] == "help":
        return None
    if VERBS[verb] is None:
        if len(words) < 2 or not re.fullmatch(r"[a-z]+", words[1]):
            return None
        verb = tuple(words[:2])
        if verb not in VERBS:
            return fail(where, f"`muga {' '.join(verb)}`: there is no such verb")
    for word in words[len(verb):]:
        for option in re.findall(r"(?<![\w-])(--[a-z][a-z0-9-]*)", word) or re.findall(r"^\[?(-[a-z])\b", word):
            if option not in VERBS[verb] | {"--help"}:
                fail(where, f"`muga {' '.join(verb)}` has no option {option}")
    return None


# ---- places ----

def anchors_of(path):
    """A heading's anchor, as GitHub makes it."""
    heads = re.findall(r"^#+ (.*)$", read(path), re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in heads}


def check_links(page, text):
    for shown, target in re.findall(r"\[([^\]]*)\]\(([^)\s]+)\)", text):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        path = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
        if not os.path.exists(path):
            fail(page, f"[{shown}]({target}) leads nowhere")
        elif anchor and anchor not in anchors_of(path):
            fail(page, f"[{shown}]({target}): {path} has no such heading")


def is_there(path):
    """A file, a folder, a pattern that fits one, or one of several names in braces."""
    braces = re.match(r"(.*)\{([^}]*)\}(.*)", path)
    if braces:
        return all(is_there(braces[1] + middle + braces[3]) for middle in braces[2].split(","))
    return bool(glob.glob(path) or glob.glob(path + ".*"))


def check_paths(where, span):
    span = span.strip().removeprefix("./").rstrip("/.,:")
    if not re.fullmatch(r"[\w./*{},?-]+", span) or "..." in span or re.search(r"(?<![A-Za-z])(NAME|DIR|FILE)\b", span):
        return  # not a path, or one with a word to be replaced
    head, _, rest = span.partition("/")
    if not rest:
        return
    if head in FOLDERS and is_there(span):
        return
    if head in KINDS and is_there("tests/" + span):
        return
    if head in SOURCES and is_there("src/" + span):
        return
    if head in FOLDERS or (head in KINDS and re.match(r"(test_|fuzz_)", rest)):
        fail(where, f"`{span}` isn't there")


def check_page(page):
    text = read(page)
    check_links(page, text)
    for line, code in code_of(text):
        for words in commands_of(code):
            check_command(f"{page}:{line}", words)
        check_paths(f"{page}:{line}", code)
        option = re.fullmatch(r"(--[a-z][a-z0-9-]+)(?:[ =][\w.,:%/-]+)?", code)
        if option and option[1] not in ALL_OPTIONS and not any(option[1] in tools for tools in TOOLS):
            fail(f"{page}:{line}", f"{option[1]} is an option of no verb and of none of our scripts")


TOOLS = [read(p) for p in glob.glob("scripts/*") + glob.glob("bench/*") + glob.glob("agents/*/train/*")
         if os.path.isfile(p) and not p.endswith((".csv", ".jsonl", ".gguf", ".json"))]


def check_index():
    """docs/README.md names each page of docs/, with a line that says what it holds."""
    index = read("docs/README.md")
    for page in glob.glob("docs/*.md"):
        name = os.path.basename(page)
        if name != "README.md" and not re.search(rf"\[[^\]]+\]\({re.escape(name)}\)[^\n]*\w", index):
            fail("docs/README.md", f"has no line for {name}")


for each in PAGES:
    check_page(each)
check_index()
print(f"{len(PAGES)} pages, {len(VERBS)} verbs, {len(failures)} failures")
sys.exit(bool(failures))
