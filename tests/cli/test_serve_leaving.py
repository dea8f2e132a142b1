"""Clients that leave at any moment, bodies that trickle or end in the middle, and models that are loaded, unloaded,
replaced and removed while they answer. If it fails, one that left holds on to a worker, a descriptor or a model, an
upload leaves half a file, or somebody's answer is cut off or is another model's."""
# ctest: slow unthreaded (the threads are of the clients; the pool has its own test under TSan)
import hashlib
import json
import os
import shutil
import socket
import struct
import sys
import tempfile
import threading

sys.path.insert(0, os.path.join(os.getcwd(), "tests/support"))
from hostile import CANARY, HANG, NUMBERS, Beside, Client, check, failures
from program import TINY, expect, muga, until
from server import MODEL, Server

ASK = [{"role": "user", "content": "Tell a long story."}]
PERCEPT = {"room": "study", "temperature": 15, "heating": 0}


def open_files(s):
    """How many sockets, models and files; not the database's, which SQLite keeps for whoever opens it next."""
    at = f"/proc/{s.process.pid}/fd/"
    names = []
    for fd in os.listdir(at):
        try:
            names.append(os.readlink(at + fd))
        except FileNotFoundError:
            pass  # closed since
    return sum("muga.db" not in name for name in names)


def request(path, body, head=""):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(raw)}\r\n{head}\r\n".encode() + raw


def plug(s):
    return socket.create_connection((s.host, s.port), timeout=HANG)


STORY = {"model": "other", "prompt": "word " * 60, "raw": True, "options": {"num_predict": 5000, "temperature": 0}}
LONG = {
    "/api/generate": STORY, "/api/chat": {"model": "other", "messages": ASK, "options": STORY["options"]},
    "/v1/chat/completions": {"model": "other", "messages": ASK, "stream": True, "n": 4},
    "/v1/messages": {"model": "other", "messages": ASK, "stream": True, "max_tokens": 5000},
    "/v1/responses": {"model": "other", "input": "a", "stream": True},
    "/v1/embeddings": {"model": "other", "input": "a"},
    "/v1/agents/thermostat/run": {"percept": PERCEPT, "stream": True},
    "/api/create": {"model": "half", "from": "other"}, "/tokenize": {"model": "other", "content": "word " * 9999},
}


def leaves(s):
    """At the head, in the body, while the model loads, while the prompt is read, in the stream; some by a reset."""
    client = Client(s)
    before = open_files(s)
    for path, body in LONG.items():
        whole = request(path, body)
        cuts = [10, whole.index(b"\r\n\r\n") + 2, whole.index(b"\r\n\r\n") + 9, len(whole) - 1] + [len(whole)] * 8
        for i, cut in enumerate(cuts):
            if i % 4 == 0:  # what comes next loads the model again
                client.judge("unload", "POST", "/api/generate", b'{"model": "other", "keep_alive": 0}')
            with plug(s) as c:
                c.sendall(whole[:cut])
                if i > 7:
                    c.recv(20)
                if i % 2:
                    c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                elif i % 3 == 0:
                    c.shutdown(socket.SHUT_WR)
    waiting = [plug(s) for _ in range(60)]
    for c in waiting:
        c.sendall(request("/api/generate", STORY))
    for c in waiting:
        c.close()
    check("nobody is served any more", until(lambda: s.metric("num_requests_running", "other:latest") in (0, None)))
    check("nobody waits any more", until(lambda: s.metric("num_requests_waiting") == 0))
    check("descriptors come back", until(lambda: open_files(s) <= before + 2), before, open_files(s))


def answer(c):
    """(status, all that came until the other side closed)"""
    data = b""
    try:
        while piece := c.recv(65536):
            data += piece
    except ConnectionResetError:
        pass
    return int(data.split()[1]) if data.startswith(b"HTTP/") else None, data


def pieces(s):
    body = json.dumps({"model": MODEL, "prompt": "a", "stream": False, "options": {"num_predict": 1}}).encode()
    head = b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    with plug(s) as c:
        c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in head + b"".join(b"1\r\n%c\r\n" % b for b in body) + b"0\r\n\r\n":
            c.send(bytes([byte]))
        check("byte by byte", answer(c)[0] == 200)
    for what, sent in {"a size that is none": b"zz\r\n", "a negative one": b"-1\r\n", "a huge one": b"f" * 16 + b"\r\n",
                       "2^64": b"1" + b"0" * 16 + b"\r\n", "past its end": b"1\r\nab\r\n"}.items():
        with plug(s) as c:
            c.sendall(head + sent)
            check(what, answer(c)[0] in (400, 413))
    for cut in (1, 3, 20, len(body)):
        with plug(s) as c:
            c.sendall(head + b"%x\r\n" % len(body) + body[:cut])
            c.shutdown(socket.SHUT_WR)
            check("cut", answer(c)[0] in (None, 400))
    for what, head in {"10 MB": "X-A: " + "a" * 10000000, "many": "X: a\r\n" * 1000000}.items():
        with plug(s) as c:
            try:
                c.sendall(f"GET /health HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n".encode())
            except (BrokenPipeError, ConnectionResetError):
                pass
            check(f"a head of {what}", answer(c)[0] in (431, None))


def uploads(s):
    """What is cut, or isn't what its digest says, leaves no file; two at once of the same leave one."""
    blobs = os.path.join(s.home, "blobs")
    before = set(os.listdir(blobs))
    data = os.urandom(1 << 20)
    name = hashlib.sha256(data).hexdigest()
    for how in range(6):
        with plug(s) as c:
            whole = request(f"/api/blobs/sha256:{name}", data)
            c.sendall(whole[:len(whole) // 2])
            if how % 2:
                c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client = Client(s)
    client.judge("wrong", "POST", f"/api/blobs/sha256:{'0' * 64}", data, want=(400,))
    client.judge("nothing", "POST", f"/api/blobs/sha256:{'1' * 64}", b"", want=(400,))
    check("half a blob is none", until(lambda: set(os.listdir(blobs)) == before), set(os.listdir(blobs)) - before)
    got = []
    threads = [threading.Thread(target=lambda: got.append(s.ask("POST", f"/api/blobs/sha256:{name}", data)[0]))
               for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    check("at once", set(got) <= {200, 201}, got)
    check("one blob", set(os.listdir(blobs)) - before == {f"sha256-{name}"}, set(os.listdir(blobs)) - before)
    for files in ({"a.gguf": f"sha256:{name}"}, {"a": f"sha256:{name}", "b": f"sha256:{name}"}):
        client.judge("no model", "POST", "/api/create", json.dumps(
            {"model": "junk", "files": files, "stream": False}).encode(), want=(400,))


def races(s):
    """Twenty models, asked, unloaded, copied over, made over and removed at the same time."""
    end, n_good = threading.Event(), [0]
    say = {"raw": True, "stream": False, "options": {"num_predict": 6, "temperature": 0}, "prompt": "A story"}
    want = s.post("/api/generate", {**say, "model": "p0"})[2]["response"]

    def ask(i):
        client = Client(s)
        for k in range(150):
            model = f"{'mp'[k % 2]}{(i * 7 + k) % 20}"
            raw = json.dumps({**say, "model": model}).encode()
            status, _, data = client.judge("race", "POST", "/api/generate", raw, want=(200, 404))
            if status == 200:
                n_good[0] += 1
                check("its own answer", json.loads(data)["response"] == want, model, data)

    def change(i):
        client, k = Client(s), i
        while not end.is_set():
            model, k = f"m{k % 20}", k + 1
            for method, path, body in (
                    ("POST", "/api/generate", {"model": model, "keep_alive": 0, "stream": False}),
                    ("POST", "/api/copy", {"source": "p" + model[1:], "destination": model}),
                    ("POST", "/api/create", {"model": model, "from": "p" + model[1:], "stream": False,
                                             "parameters": {"num_ctx": 64 + k % 5}}),
                    ("DELETE", "/api/delete", {"model": model}), ("GET", "/api/ps", None),
                    ("POST", "/api/copy", {"source": "p" + model[1:], "destination": model})):
                client.judge("change", method, path, json.dumps(body).encode() if body else None, want=(200, 404))

    askers = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
    changers = [threading.Thread(target=change, args=(i * 9,)) for i in range(2)]
    for t in askers + changers:
        t.start()
    for t in askers:
        t.join()
    end.set()
    for t in changers:
        t.join()
    check("most were answered", n_good[0] > 300, n_good)
    loaded = s.get("/api/ps")[2]["models"]
    check("not all have room", 0 < len(loaded) < 30, [(m["name"], m["size"]) for m in loaded])


def with_keys(s):
    """Keys that are none, and one that may do everything, with ids and queries that are none."""
    made = expect("key", muga(s.home, "key", "create", "--json", "--name", "ada", "--scope",
                              "models:*,agents:*,audit,metrics,approve:*,admin"), 0)
    good = {"Authorization": "Bearer " + json.loads(made)["key"]}
    check("a key is asked for", until(lambda: s.get("/api/tags")[0] == 401))
    for value in (b"Bearer \x01", b"Bearer a\0b", b"Bearer \x7f", b"Bearer " + b"\xff" * 100, b"Bearer", b"",
                  b"Bearer  ", b"Bearer " + b"muga_" * 1500, b"Basic " + CANARY.encode(), b"bearer muga_" + b"a" * 43,
                  b"%00", b"Bearer muga_\r\n x", b"Bearer " + good["Authorization"][7:-1].encode()):
        with plug(s) as c:
            c.sendall(b"GET /api/tags HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: " + value +
                      b"\r\n\r\n")
            status, data = answer(c)
            check(f"key {value[:20]}", status in (400, 401) and CANARY.encode() not in data, status, data)
    client = Client(s)
    names = ["x", "..%2f..%2fx", "a" * 4000, "%27%20or%201%3d1", "a-1", "%25s%25n", "-1", "a-%f0%9f%98%80", *NUMBERS]
    for name in names:
        name = name[:4000]
        for text in ('{"decision": "yes"}', '{"decision": "no", "note": "x"}', '{"decision": "perhaps"}', '{}'):
            client.judge(text, "POST", f"/v1/approvals/{name}", text.encode(), good, want=(400, 404))
        client.judge("", "GET", f"/v1/approvals?role={name}&max={name}", None, good, want=(200, 400))
        for query in ("session", "from", "max"):
            client.judge("", "GET", f"/v1/audit?{query}={name}&&=&{query}", None, good, want=(200, 400))
        client.judge("", "GET", f"/v1/audit/verify?head={name}", None, good, want=(200, 400))
    check("no secret in the log", CANARY not in s.said() and good["Authorization"][7:] not in s.said())


with tempfile.TemporaryDirectory(prefix="muga-leaving-") as scratch:
    twenty = []
    for number in range(20):  # bytes behind the last tensor: weights of their own
        twenty.append((f"p{number}", os.path.join(scratch, f"p{number}.gguf")))
        shutil.copy(TINY, twenty[-1][1])
        with open(twenty[-1][1], "ab") as file:
            file.write(b"\0" * 64 * (number + 1))
    with Server("--memory", "25MiB", home=scratch, models=[(MODEL, TINY), ("other", TINY), *twenty]) as server:
        with Beside(server):
            for part in (leaves, pieces, uploads, races):
                part(server)
        with_keys(server)
for line in failures[:200]:
    print(line)
sys.exit(1 if failures else 0)
