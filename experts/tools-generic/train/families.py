"""Reads functions/*.txt: hand-written functions, and requests that call them. README.md has the form of the files."""

import json
import pathlib
import re

FOLDER = pathlib.Path(__file__).resolve().parent / "functions"
TYPES = ("string", "int", "num", "pct", "bool", "enum", "strings", "ints", "nums", "enums", "date", "time", "object")
VALUES = r"\(.*?\)|@\w+|-?[\d.]+\.\.[\d.]+(?:/[\d.]+)?(?: x\d)?"
PARAMETER = re.compile(rf"- ([a-z0-9_./]+)(!?) (\w+)(?: ({VALUES}))?(?: =([^|]+?))? \| (.+)")
SLOT = re.compile(r"\{([a-z0-9_.]+)(?:#(\d)|:([^{}]+))?\}")
FORM = re.compile(r"%|\^|<(\w+)>")
SEGMENT = re.compile(r"\[([^\[\]]*)\]")


POOLS = {}  # name -> [(value, said)], filled by read()


class Wrong(Exception):
    """A line of a family file that can't be used; its text names file and line."""


def pool_of(text):
    """(a; b~how b is said) -> [(value, said)]"""
    pairs = []
    for part in text.split(";"):
        value, _, said = part.strip().partition("~")
        pairs.append((value, said or value))
    return pairs


def read_values(kind, text, pools):
    if text is None:
        return None
    if text.startswith("@"):
        return pools[text[1:]]
    if text.startswith("("):
        pairs = pool_of(text[1:-1])
        return [(json.loads(v), s) for v, s in pairs] if kind in ("int", "num", "ints", "nums") else pairs
    low, _, rest = text.partition("..")
    rest, _, size = rest.partition(" x")
    high, _, step = rest.partition("/")
    return float(low), float(high), float(step or 1), int(size or 0)


def read_parameter(line, pools):
    match = PARAMETER.fullmatch(line)
    if not match:
        raise ValueError("no parameter: - name[!] type [values] [=default] | description")
    names, required, kind, values, default, about = match.groups()
    values = read_values(kind, values, pools)
    if kind not in TYPES or (values is None) != (kind in ("bool", "date", "time", "object")):
        raise ValueError(f"type {kind} with values {values}")
    if default is not None and kind not in ("string", "enum"):
        default = json.loads(default)
    names = names.split("/")
    return {"name": names[0], "names": names, "kind": kind, "required": bool(required), "values": values,
            "default": default, "about": about}


def check_request(function, text, whole):
    """Slots are parameters; what is required is always said, unless the request is one that lacks it."""
    known = {p["name"] for p in function["parameters"] if p["kind"] != "object"}
    outside = {m.group(1) for m in SLOT.finditer(SEGMENT.sub("", text))}
    named = {m.group(1) for m in SLOT.finditer(text)}
    wanted = {p["name"] for p in function["parameters"] if p["required"] and p["kind"] != "object"}
    if named - known or whole and wanted - outside or not whole and not wanted - named:
        raise ValueError(f"{sorted(named - known)} unknown, {sorted(wanted - outside)} not said")


def made(draws, form):
    """A value of a form: % a digit, ^ a capital letter, <pool> a word of that pool."""
    def one(match):
        if match.group(1):
            return made(draws, draws.pick(POOLS[match.group(1)])[0])
        return str(draws.below(10)) if match.group() == "%" else chr(65 + draws.below(26))
    return FORM.sub(one, form)


class Reader:
    def __init__(self):
        self.pools, self.functions, self.domain = POOLS, [], None

    def line(self, line):
        if line.startswith("pool "):
            name, _, text = line[5:].partition(" = ")
            self.pools[name] = pool_of(text)
        elif line.startswith("== "):
            self.domain = line[3:]
        elif line.startswith("fn "):
            name, about = line[3:].split(" | ")
            if not re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", name) or any(f["name"] == name for f in self.functions):
                raise ValueError(f"{name} is no snake_case name, or there twice")
            self.functions.append({"name": name, "domain": self.domain, "about": about, "parameters": [],
                                   "one": [], "many": [], "lacking": []})
        elif line.startswith("- "):
            self.functions[-1]["parameters"].append(read_parameter(line, self.pools))
        elif line.split(" ")[0] in (">", ">>", "?"):
            mark, text = line.split(" ", 1)
            check_request(self.functions[-1], text, mark != "?")
            self.functions[-1][{">": "one", ">>": "many", "?": "lacking"}[mark]].append(text)
        else:
            raise ValueError("neither pool, ==, fn, -, >, >> nor ?")


def read(folder=FOLDER):
    """All functions, in the order of the files' names."""
    reader = Reader()
    for path in sorted(folder.glob("*.txt"), key=lambda p: (p.stem != "pools", p.name)):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                if line and not line.startswith("#"):
                    reader.line(line)
            except (ValueError, KeyError, IndexError) as e:
                raise Wrong(f"{path.name}:{number}: {e}") from e
    return reader.functions
