"""A strict reader of Prometheus' text format 0.0.4 and of OpenMetrics 1.0.0: what isn't exactly that is an error."""

import math
import re

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"')
SAMPLE = re.compile(r"(" + NAME + r")(\{.*\})? (\S+)$")
ENDS = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


class Wrong(Exception):
    pass


def read_labels(text):
    labels, at = {}, 1
    while text[at] != "}":
        m = LABEL.match(text, at)
        if not m or m.group(1) in labels:
            raise Wrong(f"labels: {text}")
        labels[m.group(1)] = m.group(2).replace('\\"', '"').replace("\\n", "\n").replace("\\\\", "\\")
        at = m.end()
        if text[at] == ",":
            at += 1
        elif text[at] != "}":
            raise Wrong(f"labels: {text}")
    return labels


def read_value(text):
    if not re.fullmatch(r"[+-]?(\d+(\.\d+)?([eE][+-]?\d+)?|Inf)|NaN", text):
        raise Wrong(f"value: {text}")
    return float(text)


def check_histogram(name, rows):
    """rows: (end, labels, value) of one family."""
    series = {}
    for end, labels, value in rows:
        key = tuple(sorted((k, v) for k, v in labels.items() if k != "le"))
        one = series.setdefault(key, {"buckets": []})
        if end == "_bucket":
            one["buckets"].append((labels["le"], value))
        else:
            one[end] = value
    for key, one in series.items():
        bounds = [float(le.replace("+Inf", "inf")) for le, _ in one["buckets"]]
        counts = [v for _, v in one["buckets"]]
        if not bounds or bounds != sorted(set(bounds)) or bounds[-1] != math.inf or counts != sorted(counts):
            raise Wrong(f"buckets of {name} {key}: {one['buckets']}")
        if one.get("_count") != counts[-1] or one.get("_sum", -1) < 0:
            raise Wrong(f"count or sum of {name} {key}: {one}")
        if any("." not in le and "e" not in le and le != "+Inf" for le, _ in one["buckets"]):
            raise Wrong(f"bounds of {name} aren't canonical")


def parse(text, openmetrics=False):
    """{family: (type, [(sample name, labels, value)])}"""
    if not text.endswith("\n"):
        raise Wrong("no line end at the end")
    lines = text[:-1].split("\n")
    if openmetrics and lines.pop() != "# EOF":
        raise Wrong("no # EOF at the end")
    families, family, seen = {}, None, set()
    for i, line in enumerate(lines):
        if line.startswith("# HELP "):
            family = line.split(" ", 3)[2]
            if family in families or not re.fullmatch(NAME, family):
                raise Wrong(f"family {family} again, or no name")
            if not lines[i + 1].startswith(f"# TYPE {family} "):
                raise Wrong(f"no TYPE after HELP of {family}")
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            if name != family or kind not in ENDS:
                raise Wrong(line)
            families[family] = (kind, [])
        else:
            m = SAMPLE.match(line)
            if not m or family not in families:
                raise Wrong(line)
            kind, rows = families[family]
            end = m.group(1)[len(family):] if m.group(1).startswith(family) else None
            ends = ("",) if kind == "counter" and not openmetrics else ENDS[kind]
            if end not in ends or (kind == "counter" and not m.group(1).endswith("_total")):
                raise Wrong(f"{line}: not of the family {family} ({kind})")
            labels, value = read_labels(m.group(2)) if m.group(2) else {}, read_value(m.group(3))
            key = (m.group(1), tuple(sorted(labels.items())))
            if key in seen or (kind != "gauge" and value < 0):
                raise Wrong(f"again, or negative: {line}")
            seen.add(key)
            rows.append((m.group(1), labels, value))
    for name, (kind, rows) in families.items():
        if not rows:
            raise Wrong(f"{name} has no sample")
        if kind == "histogram":
            check_histogram(name, [(s[len(name):], labels, v) for s, labels, v in rows])
    return families
