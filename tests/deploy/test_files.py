#!/usr/bin/env python3
"""The files of deploy/. If this failed, a dashboard or an alert would ask for a metric that isn't there and never fire,
the unit would let the service do more than it says, or the manifests would hand the server a file that it refuses."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.getcwd(), "tests"))
from support.program import muga  # noqa: E402

failures = []


def check(ok, what, *seen):
    if not ok:
        failures.append(what)
        print("FAILED:", what, *[str(s)[:2000] for s in seen], sep="\n  ", flush=True)


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def table():
    """name -> labels, of docs/metrics.md, which tests/unit/test_metrics.c holds against the program's table."""
    metrics = {}
    for name, kind, labels in re.findall(r"^\| `muga:(\w+)` \| (\w+) \| ([^|]*) \|", read("docs/metrics.md"), re.M):
        labels = set(filter(None, labels.replace(" ", "").split(",")))
        ends = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
        for end in ends:
            metrics[name + end] = labels | ({"le"} if end == "_bucket" else set())
    return metrics


def check_expression(where, text, metrics):
    for name, selector in re.findall(r"muga:(\w+)(\{[^}]*\})?", text):
        check(name in metrics, f"{where}: there is no metric muga:{name}", text)
        for label in re.findall(r"(\w+) *(?:=~|!~|!=|=)", selector):
            check(label in metrics.get(name, ()), f"{where}: muga:{name} has no label {label}", text)


def names():
    metrics = table()
    check(len(metrics) > 50, "docs/metrics.md has the table", len(metrics))
    dashboard = json.loads(read("deploy/grafana.json"))
    ids = [p["id"] for p in dashboard["panels"]]
    check(len(ids) == len(set(ids)) >= 15, "panels", ids)
    n = 0
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            n += 1
            check("muga:" in target["expr"], panel["title"])
            check_expression(panel["title"], target["expr"], metrics)
    for variable in dashboard["templating"]["list"]:
        check_expression("a variable", variable["query"], metrics)
    rules = read("deploy/alerts.yaml")
    check_expression("alerts", "\n".join(line for line in rules.splitlines() if not line.startswith("#")), metrics)
    for wanted in ("Errors", "Queue", "CompletionFalls", "ApprovalsWait", "Disk"):
        check(f"- alert: Muga{wanted}\n" in rules, f"an alert Muga{wanted}")
    check(rules.count("- alert:") == rules.count("summary:"), "each alert says what it means")


def unit():
    text = read("deploy/muga.service")
    for line in ("Type=notify", "ExecReload=/bin/kill -HUP $MAINPID", "StateDirectory=muga"):
        check(line in text, f"the unit has {line}")
    stop = int(re.search(r"TimeoutStopSec=(\d+)s", text).group(1))
    check(stop > 30, "a stop has more than the drain's time", stop)
    analyze = shutil.which("systemd-analyze")
    if not analyze:
        print("skipped: systemd-analyze isn't here, so the unit's exposure is unknown")
        return
    said = subprocess.run([analyze, "security", "--offline=yes", "deploy/muga.service"], capture_output=True, text=True,
                          timeout=60, check=False)
    level = re.search(r"exposure level for muga.service: ([0-9.]+)", said.stdout)
    check(level and float(level.group(1)) <= 2.0, "exposure at most 2.0", said.stdout[-300:] + said.stderr)


def manifests():
    """The file in the ConfigMap is one that the program takes; probes ask what there is; kubeconform, where it is."""
    path = "deploy/kubernetes/muga.yaml"
    text = read(path)
    block = re.search(r"  muga\.yaml: \|\n((?:    .*\n)+)", text).group(1)
    with tempfile.TemporaryDirectory() as home:
        inner = os.path.join(home, "muga.yaml")
        with open(inner, "w", encoding="utf-8") as f:
            f.write(re.sub(r"^    ", "", block, flags=re.M))
        code, _, err = muga(home, "config", "check", inner)
        check(code == 0, "the ConfigMap's file", err)
    for part in ("/health/live", "/health/ready", "kind: StatefulSet", "kind: NetworkPolicy", "volumeClaimTemplates:",
                 "readOnlyRootFilesystem: true", "limits:", "enableServiceLinks: false"):
        check(part in text, f"the manifests have {part}")
    grace = int(re.search(r"terminationGracePeriodSeconds: (\d+)", text).group(1))
    check(grace > 30, "a pod has more than the drain's time to end", grace)
    conform, schemas = shutil.which("kubeconform"), os.environ.get("KUBECONFORM_SCHEMAS")
    if not conform or not schemas:
        print("skipped: kubeconform with schemas ($KUBECONFORM_SCHEMAS) isn't here")
        return
    said = subprocess.run([conform, "-strict", "-summary", "-schema-location", schemas, path], capture_output=True,
                          text=True, timeout=60, check=False)
    check(said.returncode == 0, "kubeconform", said.stdout + said.stderr)


def container():
    text = read("deploy/Containerfile")
    for part in ("debian:12-slim AS build", "USER 10001", "HEALTHCHECK", "VOLUME /var/lib/muga", "STOPSIGNAL SIGTERM"):
        check(part in text, f"the Containerfile has {part}")
    packages = {p.split()[0] for p in read("deps/debian.txt").splitlines() if p.endswith(" build")}
    build = text.split("FROM")[1]
    missing = [p for p in packages - {"bubblewrap"} if p not in build]
    check(not missing, "what deps/debian.txt says a build needs", missing)
    # Libraries that are loaded when they are first wanted: the program names their packages where they are missing.
    sources = "".join(read(f"src/net/{name}") for name in sorted(os.listdir("src/net")) if name.endswith(".c"))
    wanted = {p for p in re.findall(r"\(Debian: (lib[\w.+-]+)\)", re.sub(r'"\s*\n\s*"', "", sources))
              if not p.endswith("-dev")}
    check(len(wanted) >= 3, "the sources name the packages of what they load", wanted)
    missing = [p for p in wanted if not re.search(rf"\s{re.escape(p)}\s", text.split("FROM")[2])]
    check(not missing, "what the program loads is in the image", missing)


for one in (names, unit, manifests, container):
    one()
sys.exit(f"{len(failures)} failed" if failures else 0)
