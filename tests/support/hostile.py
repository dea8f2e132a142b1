"""What tests of hostile requests share: values that no field expects, a healthy client beside them, and an answer that
is judged by what no answer may be: a 5xx, a hang, no JSON."""

import http.client
import json
import os
import re
import socket
import threading

from server import MODEL

HANG = 120  # seconds; a machine that is loaded, or a sanitizer, may need some for what takes milliseconds
CANARY = "canary-7f3e9b12"
failures = []
stopped = (http.client.HTTPException, OSError)


def check(name, holds, *what):
    if not holds:
        failures.append(f"{name}: {' '.join(str(w)[:300] for w in what)}")


# JSON texts, since Python can write neither 1e400 nor a number of 400 digits.
NUMBERS = ["-1", "0", "-0", "2147483648", "-2147483649", "4294967296", "9223372036854775807", "9223372036854775808",
           "-9223372036854775808", "18446744073709551616", "1e308", "-1e308", "1e400", "1e-320", "0.5", "9" * 400]
OTHERS = ['""', '"x"', "[]", "{}", "true", "false", "null", '"' + "a" * 100000 + '"', "[" * 200 + "]" * 200,
          '{"a":' * 200 + "1" + "}" * 200, '"../../../../etc/passwd"', '"\\u0000"', '"\\ud800"', "[null]", "[[]]",
          '[{"type": 7}]', '{"type": []}', "NaN"]
VALUES = NUMBERS + OTHERS


def field_names(*sources):
    """The fields that tables in these files of src/serve/ define."""
    names = []
    for source in sources:
        with open(os.path.join("src/serve", source), encoding="utf-8") as f:
            names += re.findall(r'\{\s*"(\w+)",\s*FIELD_\w+', f.read())
    return list(dict.fromkeys(names))


def places(value, path=()):
    """The path of every part of a JSON value, itself left out."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield path + (key,)
        yield from places(part, path + (key,))


def with_text(body, path, text):
    """The JSON text of a body that has `text` at this path."""
    whole = json.loads(json.dumps(body))
    at = whole
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = "@@here@@"
    return json.dumps(whole).replace('"@@here@@"', text).encode()


class Client:
    """One kept connection, which is made anew when the server has closed it."""

    def __init__(self, s):
        self.s, self.c = s, None

    def ask(self, method, path, raw=None, headers=None):
        """(status, headers, bytes); a connection that ends without an answer is None as status."""
        for _ in range(2):
            fresh = self.c is None
            if fresh:
                self.c = self.s.connect(HANG)
            try:
                self.c.request(method, path, raw, {"Content-Type": "application/json", **(headers or {})})
                r = self.c.getresponse()
                data = r.read()
                if r.will_close:
                    self.close()
                return r.status, {k.lower(): v for k, v in r.getheaders()}, data
            except stopped as error:
                self.close()
                if fresh or isinstance(error, socket.timeout):
                    return None, {}, repr(error).encode()
        return None, {}, b"closed twice"

    def close(self):
        if self.c:
            self.c.close()
        self.c = None

    def judge(self, what, method, path, raw=None, headers=None, want=None):
        """Sends a hostile request; its answer must be one (in `want`, if given), and no fault of the server's."""
        status, head, data = self.ask(method, path, raw, headers)
        fine = status is not None and (status < 500 or status == 501) and (want is None or status in want)
        if fine and head.get("content-type", "").startswith("application/json") and data:
            try:
                json.loads(data)
            except ValueError:
                fine = False
        check(f"{method} {path[:80]} {what}", fine, status, data[:300])
        return status, head, data


class Beside:
    """A healthy client that asks the same thing all the while, and gets the same answer each time."""

    def __init__(self, s, model=MODEL):
        self.s, self.model = s, model
        self.n, self.end = 0, threading.Event()
        self.thread = threading.Thread(target=self.run)

    def answer(self, client):
        raw = json.dumps({"model": self.model, "prompt": "A story", "raw": True, "stream": False,
                          "options": {"num_predict": 6, "temperature": 0}}).encode()
        status, _, data = client.ask("POST", "/api/generate", raw)
        return status, json.loads(data).get("response") if status == 200 else data

    def run(self):
        client = Client(self.s)
        while not self.end.is_set():
            got = self.answer(client)
            if got != self.first:
                check("beside", False, got, self.first)
                break
            self.n += 1
            self.end.wait(0.02)
        client.close()

    def __enter__(self):
        self.first = self.answer(Client(self.s))
        check("healthy at first", self.first[0] == 200, self.first)
        self.thread.start()
        return self

    def __exit__(self, *why):
        self.end.set()
        self.thread.join()
        if why[0] is None:
            check("a healthy client was there", self.n > 0, self.n)
            check("healthy after", self.answer(Client(self.s)) == self.first)
