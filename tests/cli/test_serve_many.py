"""500 streams at once, each the same, byte for byte, as when it is asked alone; half of their clients then leave in the
middle, and nobody else's answer changes for it. If it fails, an answer depends on who else asks."""
# ctest: threads (of the server)
import json
import os
import sys
import threading

sys.path.insert(0, os.path.join(os.getcwd(), "tests/support"))
from server import MODEL, Server

CLIENTS = 500
threading.stack_size(256 * 1024)
failures = []


def body(i):
    """Every kind of request beside each other: free, sampled, constrained, with and without what others began with."""
    begin = "The same beginning for many. " * 4 if i % 3 == 0 else ""
    asked = {"model": MODEL, "prompt": f"{begin}Number {i} is", "max_tokens": 12, "stream": True, "temperature": 0}
    if i % 4 == 1:
        asked.update(temperature=0.9, seed=i)
    if i % 4 == 2:
        asked.update(guided_regex=f"[a-z]{{3}}-{i % 10}")
    return asked


def ask(s, i, most=None):
    """The text of a stream, or of its first pieces, after which the client leaves."""
    c = s.connect(300)
    text, n = "", 0
    try:
        c.request("POST", "/v1/completions", json.dumps(body(i)), {"Content-Type": "application/json"})
        r = c.getresponse()
        if r.status != 200:
            return f"{r.status} {r.read()[:200]}"
        for line in r:
            if line.startswith(b"data: {"):
                event = json.loads(line[6:])
                text += "".join(choice["text"] for choice in event.get("choices", []))
                n += 1
                if n == most:
                    break
    finally:
        c.close()
    return text


def at_once(s, most_of):
    got = [None] * CLIENTS
    gate = threading.Barrier(CLIENTS)

    def run(i):
        gate.wait()
        try:
            got[i] = ask(s, i, most_of(i))
        except OSError as e:
            got[i] = f"{type(e).__name__}: {e}"

    threads = [threading.Thread(target=run, args=(i,)) for i in range(CLIENTS)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return got


def compare(what, got, alone, who):
    wrong = [i for i in who if got[i] != alone[i]]
    if wrong:
        i = wrong[0]
        failures.append(f"{what}: {len(wrong)} of {len(who)} differ; {i}: {got[i]!r} instead of {alone[i]!r}")


def lists_at_once(s):
    """Lists that many ask for at a time are those that one gets; under the thread sanitizer, without a race."""
    paths = ("/v1/models", "/api/tags", "/v1/agents", "/v1/agents/thermostat", "/v1/approvals", "/api/ps")
    alone_lists = {path: s.get(path) for path in paths}
    got = []

    def run(i):
        for k in range(12):
            path = paths[(i + k) % len(paths)]
            status, _, body = s.get(path)
            if status != 200 or body != alone_lists[path][2]:
                got.append(f"{path}: {status} {body}")

    threads = [threading.Thread(target=run, args=(i,)) for i in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    failures.extend(got[:3])


with Server("--set", "models.keep_alive=forever") as server:
    lists_at_once(server)
    alone = [ask(server, i) for i in range(CLIENTS)]
    if len(set(alone)) < CLIENTS // 10:
        failures.append("the answers are nearly all the same, so they would prove nothing")
    compare("at once", at_once(server, lambda i: None), alone, range(CLIENTS))
    stay = [i for i in range(CLIENTS) if i % 2]
    compare("while others leave", at_once(server, lambda i: None if i % 2 else 1), alone, stay)
for line in failures:
    print(line)
sys.exit(1 if failures else 0)
