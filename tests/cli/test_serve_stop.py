"""How a server stops: who looks is told, who comes is sent away with a word, who is there is served. If it fails, a
balancer sends requests into a closed door, or a client's request ends without an answer."""
import json
import os
import signal
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.getcwd(), "tests/support"))
from server import MODEL, Server

failures = []
WAIT_S = 60
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "x"}], "max_tokens": 2}


def check(name, holds, *what):
    if not holds:
        failures.append(f"{name}: {' '.join(str(w)[:600] for w in what)}")


def half_said(s, path, body):
    """A request whose last byte is still to come: the server waits for it, and stops no sooner."""
    c = socket.create_connection((s.host, s.port), WAIT_S)
    raw = json.dumps(body).encode()
    c.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
              f"Content-Length: {len(raw)}\r\n\r\n".encode() + raw[:-1])
    return c, raw[-1:]


def rest(c):
    data = b""
    while True:
        piece = c.recv(65536)
        if not piece:
            return data
        data += piece


def until(holds):
    deadline = time.monotonic() + WAIT_S
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    return holds()


def error_of(body):
    """The message, in whichever form the family has."""
    error = body["error"]
    return error if isinstance(error, str) else error["message"]


def stopping(s):
    started = s.connect()
    started.request("GET", "/health/ready")
    check("ready", started.getresponse().read() and True)
    waits, last = half_said(s, "/v1/chat/completions", CHAT)
    quiet, end = half_said(s, "/tokenize", {"model": MODEL, "content": "x"})
    until(lambda: s.get("/health/ready")[0] == 200)
    s.process.send_signal(signal.SIGTERM)
    check("not ready", until(lambda: s.get("/health/ready")[0] == 503))
    status, head, body = s.get("/health/ready")
    check("why", body == {"status": "stopping"} and head.get("connection") == "close", status, head, body)
    check("alive", s.get("/health/live")[0] == 200)
    started.request("GET", "/health/live")
    check("a connection from before", started.getresponse().status == 200)
    families = (("/v1/chat/completions", CHAT), ("/v1/completions", {"model": MODEL, "prompt": "x"}),
                ("/v1/responses", {"model": MODEL, "input": "x"}), ("/v1/embeddings", {"model": MODEL, "input": "x"}),
                ("/v1/messages", CHAT), ("/api/generate", {"model": MODEL, "prompt": "x"}), ("/api/chat", CHAT),
                ("/v1/agents/thermostat/run", {"input": "x"}), ("/api/copy", {"source": MODEL, "destination": "b"}),
                ("/api/blobs/sha256:" + "0" * 64, {"x": 1}))
    for path, body in families:
        status, head, answer = s.post(path, body)
        check(path, status == 503 and "stopping" in error_of(answer) and 1 <= int(head.get("retry-after", 0)) <= 60 and
              head.get("connection") == "close", status, head, answer)
        check(path + " in its form", (answer.get("type") == "error") == (path == "/v1/messages") and
              isinstance(answer["error"], str) == path.startswith("/api/"), answer)
    check("what computes nothing", s.get("/v1/models")[0] == 200)
    waits.sendall(last)
    said = rest(waits)
    check("said in halves", said.startswith(b"HTTP/1.1 503 ") and b"\r\nretry-after: " in said, said)
    check("still there", s.get("/health/live")[0] == 200)
    quiet.sendall(end)
    said = rest(quiet)
    check("an answer to the end", said.startswith(b"HTTP/1.1 200 ") and b'"tokens"' in said, said)
    check("exit", s.process.wait(WAIT_S) == 0, s.said())
    try:
        socket.create_connection((s.host, s.port), 5).close()
        check("nobody listens", False)
    except OSError:
        pass


def hung_up():
    """SIGHUP at any moment of a stop, also behind its end: nothing is broken off."""
    for _ in range(8):
        with Server() as s:
            check("serves", s.post("/v1/chat/completions", CHAT)[0] == 200)
            s.process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + WAIT_S
            while s.process.poll() is None and time.monotonic() < deadline:
                s.process.send_signal(signal.SIGHUP)
                time.sleep(0.0005)
            check("exit of one that was told to reload", s.process.poll() == 0, s.process.poll(), s.said())


hung_up()
with Server("--drain", "600s", "--set", "limits.body_time=600s") as server:
    stopping(server)
for line in failures:
    print(line)
sys.exit(1 if failures else 0)
