"""What tests of the server's routes share: replies with the events of a stream in them, and counted failures."""

import json
import sys

from server import Server

failures = []


def check(ok, what, *seen):
    """Counts and tells a failure; the test goes on."""
    if not ok:
        failures.append(what)
        print("FAILED:", what, *[str(s)[:1500] for s in seen], sep="\n  ", flush=True)
    return ok


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers = status, headers
        self.text = body if isinstance(body, str) else body.decode()
        self.events, self.names = [], []
        self.json = None
        if headers.get("content-type", "").startswith("text/event-stream"):
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


class Served(Server):
    """with Served() as s: s.post("/v1/...", {...}).json"""

    def reply(self, method, path, body=None, headers=None):
        """body: bytes, or a value that becomes JSON."""
        connection = self.connect()
        try:
            data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            connection.request(method, path, data, {"Content-Type": "application/json", **(headers or {})})
            r = connection.getresponse()
            return Reply(r.status, {k.lower(): v for k, v in r.getheaders()}, r.read())
        finally:
            connection.close()

    def post(self, path, body=None, headers=None):
        return self.reply("POST", path, body, headers)

    def get(self, path, headers=None):
        return self.reply("GET", path, None, headers)


def run_tests(found):
    """Each function of `found` (globals()) that is called test_..., with one server; then the program ends."""
    with Served() as s:
        for name, test in sorted(found.items()):
            if name.startswith("test_"):
                test(s)
    sys.exit(1 if failures else 0)
