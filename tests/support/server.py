"""A running `muga serve` for tests: on a free port of loopback, in a home of its own, with the tree's tiny model."""

import hashlib
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

from program import MUGA, PATIENCE_S, TINY, environment

MODEL = "tiny"


def add_model(home, name, path, move=False, link=False):
    """A GGUF file as a model of the store."""
    with open(path, "rb") as f:
        digest = hashlib.file_digest(f, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else \
            hashlib.sha256(f.read()).hexdigest()
    blob = os.path.join(home, "blobs", "sha256-" + digest)
    manifest = os.path.join(home, "manifests", name, "latest")
    os.makedirs(os.path.dirname(blob), exist_ok=True)
    os.makedirs(os.path.dirname(manifest), exist_ok=True)
    if not os.path.exists(blob):
        (shutil.move if move else os.symlink if link else shutil.copy)(path, blob)
    with open(manifest, "w", encoding="utf-8") as f:
        json.dump({"version": 1, "name": name, "tag": "latest", "blob": "sha256:" + digest,
                   "bytes": os.path.getsize(blob), "source": os.path.basename(path)}, f)


class Server:
    """with Server() as s: s.post("/v1/chat/completions", {...}) -> (status, headers, JSON or bytes)"""

    def __init__(self, *options, home=None, models=((MODEL, TINY),), env=None):
        self.scratch = None if home else tempfile.TemporaryDirectory(prefix="muga-serve-")
        self.home = home or self.scratch.name
        self.options = options
        self.env = {**environment(self.home), **(env or {})}
        for name, path in models:
            add_model(self.home, name, path)

    def __enter__(self):
        self.log = tempfile.NamedTemporaryFile("w+", suffix=".log", encoding="utf-8")
        listen = () if any(o.startswith("--listen") for o in self.options) else ("--listen", "127.0.0.1:0")
        patient = ("--set", f"limits.header_time={PATIENCE_S}s")  # the clients in here may be slow
        self.process = subprocess.Popen([MUGA, "serve", *listen, *patient, *self.options], env=self.env, text=True,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log)
        line = self.process.stdout.readline()
        if "listening on" not in line:
            self.process.wait(timeout=PATIENCE_S)
            sys.exit(f"muga serve ended with {self.process.returncode}: {line}{self.said()}")
        self.url = line.split()[-1]
        if self.url.startswith("http"):
            self.host, self.port = self.url.split("//")[1].rsplit(":", 1)
            self.port = int(self.port)
        return self

    def __exit__(self, *why):
        code = self.stop()
        said = self.said()
        self.log.close()
        if self.scratch:
            self.scratch.cleanup()
        if why[0] is None and code not in (0, None):
            sys.exit(f"muga serve ended with {code}: {said}")

    def said(self):
        self.log.flush()
        with open(self.log.name, encoding="utf-8", errors="replace") as f:
            return f.read()

    def stop(self, how=signal.SIGTERM):
        """The exit code; of one that ended before, too."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            sys.exit(f"muga serve did not end in {PATIENCE_S} s after a signal to stop: {self.said()}")
        finally:
            self.process.stdout.close()

    def connect(self, timeout=PATIENCE_S):
        return http.client.HTTPConnection(self.host, self.port, timeout=timeout)

    def ask(self, method, path, body=None, headers=None, timeout=PATIENCE_S):
        """(status, headers with small letters, body: JSON where it is, else bytes)"""
        c = self.connect(timeout)
        raw = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        kind = {"Content-Type": "application/json"} if raw is not None else {}
        c.request(method, path, raw, {**kind, **(headers or {})})
        r = c.getresponse()
        data = r.read()
        c.close()
        head = {k.lower(): v for k, v in r.getheaders()}
        if head.get("content-type", "").startswith("application/json") and data:
            data = json.loads(data)
        return r.status, head, data

    def get(self, path, **more):
        return self.ask("GET", path, **more)

    def post(self, path, body, **more):
        return self.ask("POST", path, body, **more)

    def metric(self, name, model=None, **more):
        """The sum of a metric over its labels, or of those of one model; None where it isn't there."""
        text = self.get("/metrics", **more)[2].decode()
        found = re.findall(rf'^muga:{name}(?:{{([^}}]*)}})? ([-0-9.e+]+)$', text, re.M)
        values = [float(v) for labels, v in found if model is None or f'model_name="{model}"' in labels]
        return sum(values) if values else None

    def lines(self, path, body, **more):
        """NDJSON of an answer, each line read."""
        status, _, data = self.post(path, body, **more)
        if status != 200:
            sys.exit(f"{path}: {status} {data}")
        return [json.loads(line) for line in data.decode().splitlines() if line]

    def events(self, path, body, **more):
        """Server-sent events as (name or None, data: JSON or text)."""
        status, _, data = self.post(path, body, **more)
        if status != 200:
            sys.exit(f"{path}: {status} {data}")
        found = []
        for block in data.decode().split("\n\n"):
            name, text = None, None
            for line in block.split("\n"):
                if line.startswith("event: "):
                    name = line[7:]
                elif line.startswith("data: "):
                    text = line[6:]
            if text is not None:
                found.append((name, text if text == "[DONE]" else json.loads(text)))
        return found
