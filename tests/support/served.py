"""What tests of the server share: `muga serve` with the small model, and a client that looks at bytes."""

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time

MUGA = os.environ.get("MUGA_PROGRAM", "build/muga")
TINY = "tests/data/tiny.gguf"
failures = []


def check(ok, what, *seen):
    """Counts and tells a failure; the test goes on."""
    if not ok:
        failures.append(what)
        print("FAILED:", what, *[str(s)[:1500] for s in seen], sep="\n  ", flush=True)
    return ok


class Reply:
    def __init__(self, response):
        self.status = response.status
        self.headers = {k.lower(): v for k, v in response.getheaders()}
        self.text = response.read().decode()
        self.events, self.names = [], []
        self.json = None
        if self.headers.get("content-type", "").startswith("text/event-stream"):
            self.take_events()
        elif self.text:
            self.json = json.loads(self.text)

    def take_events(self):
        for block in self.text.split("\n\n"):
            data = [line[6:] for line in block.split("\n") if line.startswith("data: ")]
            name = [line[7:] for line in block.split("\n") if line.startswith("event: ")]
            if data:
                self.events.append("\n".join(data))
                self.names.append(name[0] if name else None)

    def text_of_stream(self):
        """What the deltas of a chat completion say."""
        chunks = [json.loads(e) for e in self.events if e != "[DONE]"]
        return "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c.get("choices"))

    def __str__(self):
        return f"{self.status} {self.headers} {self.text}"


class Served:
    """with Served() as s: s.post("/v1/...", {...}). The models are {name: path}."""

    def __init__(self, *options, models=None):
        self.options = options
        self.models = models or {"tiny": TINY}
        self.folder = tempfile.TemporaryDirectory()
        self.env = {**os.environ, "MUGA_HOME": os.path.join(self.folder.name, "store")}
        self.child = None

    def __enter__(self):
        for name, path in self.models.items():
            subprocess.run([MUGA, "create", name, "--from", path], env=self.env, check=True, capture_output=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.child = subprocess.Popen(
            [MUGA, "serve", "--listen", f"127.0.0.1:{self.port}", *self.options], env=self.env
        )
        for _ in range(300):
            try:
                if self.get("/health/live").status == 200:
                    return self
            except OSError:
                pass
            if self.child.poll() is not None:
                break
            time.sleep(0.1)
        sys.exit("the server did not begin to listen")

    def __exit__(self, *what):
        self.child.terminate()
        code = self.child.wait(60)
        check(code == 0, "the server ends by itself when it is asked to", code)
        self.folder.cleanup()

    def ask(self, method, path, body=None, headers=None):
        """body: bytes, or a value that becomes JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            connection.request(method, path, data, {"Content-Type": "application/json", **(headers or {})})
            return Reply(connection.getresponse())
        finally:
            connection.close()

    def post(self, path, body, headers=None):
        return self.ask("POST", path, body, headers)

    def get(self, path, headers=None):
        return self.ask("GET", path, None, headers)
