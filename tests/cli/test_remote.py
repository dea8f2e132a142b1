"""A model behind an HTTP endpoint: `muga run --remote` against servers on this machine that are slow, cut off, endless,
wrong, or not who they say. If it fails, such a server hangs the program, makes it believe something, gets a key that
isn't for it, or sends it elsewhere."""
# ctest: unthreaded (the threads are of the servers)
import http.server
import json
import os
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time

MUGA = os.environ.get("MUGA_PROGRAM", "build/muga")
KEY = "sk-not-a-real-key-123456"
failures = []
asked = []  # (path, headers, body) of each request


def event(value):
    return b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n"


def text(s, finish=None):
    return event({"choices": [{"index": 0, "delta": {"content": s}, "finish_reason": finish}]})


USAGE = event({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}})
GOOD = text("It is ") + text("late.", "stop") + USAGE + event(b"[DONE]")


class Server(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def head(self, status, kind, length=None, more=()):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for name, value in more:
            self.send_header(name, value)
        if length is None:
            self.send_header("Connection", "close")
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def give(self, status, kind, body, more=()):
        self.head(status, kind, len(body), more)
        self.wfile.write(body)

    def do_GET(self):
        asked.append((self.path, dict(self.headers), b""))
        self.give(200, "text/event-stream", GOOD)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        asked.append((self.path, dict(self.headers), body))
        try:
            path = self.path.removeprefix("http://example.invalid")  # what a proxy is asked for
            getattr(self, "case_" + path.split("/")[1])()
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            self.close_connection = True

    def case_good(self):
        self.give(200, "text/event-stream", GOOD)

    def case_chunks(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for i in range(0, len(GOOD), 7):
            piece = GOOD[i : i + 7]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def case_json(self):
        body = {"choices": [{"message": {"content": "It is late."}, "finish_reason": "stop"}]}
        self.give(200, "application/json", json.dumps(body).encode())

    def case_busy(self):  # once, then good
        if len([a for a in asked if a[0].startswith("/busy")]) == 1:
            self.give(429, "application/json", b'{"error":{"message":"slow down"}}', [("Retry-After", "1")])
        else:
            self.case_good()

    def case_far(self):
        self.give(503, "text/plain", b"later", [("Retry-After", "Fri, 31 Dec 2100 23:59:59 GMT")])

    def case_slow(self):
        self.head(200, "text/event-stream")
        self.wfile.write(text("It is "))
        self.wfile.flush()
        time.sleep(600)  # longer than anyone waits

    def case_silent(self):
        time.sleep(600)  # longer than anyone waits

    def case_cut(self):
        self.head(200, "text/event-stream", len(GOOD))
        self.wfile.write(GOOD[:60])
        self.close_connection = True

    def case_half(self):  # a stream that ends too soon, in order
        self.head(200, "text/event-stream")
        self.wfile.write(text("half"))

    def case_gone(self):
        self.close_connection = True

    def case_wrong(self):
        self.give(200, "text/event-stream", b"data: {not json\n\n")

    def case_page(self):
        self.give(200, "text/html", b"<html>\x1b[2Jhello</html>")

    def case_huge(self):
        self.head(200, "application/json")
        for _ in range(64):
            self.wfile.write(b" " * (1 << 20))

    def case_endless(self):
        self.head(200, "text/event-stream")
        piece = b"data: " + b"x" * 65536
        while True:
            self.wfile.write(piece)

    def case_headers(self):
        self.send_response(200)
        for i in range(3000):
            self.send_header("X-%d" % i, "y" * 60)
        self.end_headers()

    def case_elsewhere(self):
        self.give(307, "text/plain", b"", [("Location", "http://127.0.0.1:%d/good" % self.server.server_port)])

    def case_echo(self):
        body = {"error": {"message": "who is " + self.headers.get("Authorization", "nobody") + "\x1b[31m"}}
        self.give(401, "application/json", json.dumps(body).encode())

    def case_squeeze(self):  # an encoding that nobody asked for
        self.give(200, "application/json", b"\x1f\x8b\x08\x00garbage", [("Content-Encoding", "gzip")])


def serve(tls=None):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.daemon_threads = True
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *args: None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


def run(url, *options, env=None, prompt="is it late?"):
    del asked[:]
    return subprocess.run([MUGA, "run", "--remote", url, *options, "big", prompt], stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=300, env={**os.environ, **(env or {})})


def expect(name, r, code, says="", out=None):
    err = r.stderr.decode()
    lines = err.strip().split("\n")
    good = r.returncode == code and says in err and (out is None or r.stdout.decode() == out)
    if KEY in err or KEY[:12] in err:
        good = False
    if any(ord(c) < 32 and c not in "\n" for c in err):
        good = False
    if not good:
        failures.append(name)
        print("%s: exit %d, expected %d with %r; stdout %r; stderr %r" %
              (name, r.returncode, code, says, r.stdout[-300:], lines[-3:]))


def cases(base):
    expect("good", run(base + "/good"), 0, out="It is late.\n")
    path, headers, body = asked[0]
    sent = json.loads(body)
    assert path == "/good/chat/completions", path
    assert sent["model"] == "big" and sent["stream"] is True, sent
    assert sent["messages"] == [{"role": "user", "content": "is it late?"}], sent
    assert "Authorization" not in headers and "Cookie" not in headers, headers
    expect("chunks", run(base + "/chunks"), 0, out="It is late.\n")
    expect("json", run(base + "/json"), 0, out="It is late.\n")
    expect("busy", run(base + "/busy"), 0, "slow down; again in 1.0 s", out="It is late.\n")
    assert len(asked) == 2
    expect("far", run(base + "/far"), 6, "it asks to come back in ")
    expect("slow", run(base + "/slow", "--timeout", "1"), 6, "not whole after 1 s")
    expect("silent", run(base + "/silent", "--timeout", "1"), 6, "not whole after 1 s")
    expect("cut", run(base + "/cut", "--retries", "0"), 6, "cut")
    expect("half", run(base + "/half", "--retries", "0"), 6, "ended its answer in the middle")
    expect("gone", run(base + "/gone", "--retries", "1"), 6, "asked 2 times")
    assert len(asked) == 2
    expect("wrong", run(base + "/wrong"), 4, "the server's answer: line 1")
    expect("page", run(base + "/page"), 4, "the server's answer: line 1")
    expect("huge", run(base + "/huge"), 4, "longer than")
    expect("endless", run(base + "/endless"), 4, "")
    expect("headers", run(base + "/headers"), 4, "longer than")
    expect("elsewhere", run(base + "/elsewhere"), 6, "redirects are not followed")
    assert len(asked) == 1, "a redirect was followed"
    expect("squeeze", run(base + "/squeeze"), 4, "the server's answer: line 1")
    expect("not found", run(base + "/good", "--ca-file", "/nonexistent.pem"), 0, out="It is late.\n")


def keys(base, folder):
    path = os.path.join(folder, "key")
    with open(path, "w") as f:
        f.write(KEY + "\nsecond line\n")
    expect("key file", run(base + "/good", "--key-file", path), 0, out="It is late.\n")
    assert asked[0][1]["Authorization"] == "Bearer " + KEY, asked
    expect("key env", run(base + "/good", "--key-env", "A_KEY", env={"A_KEY": KEY}), 0)
    assert asked[0][1]["Authorization"] == "Bearer " + KEY, asked
    expect("echo", run(base + "/echo", "--key-file", path), 6, "refuses the key (401): who is Bearer [key]")
    expect("no key", run(base + "/good", "--key-env", "NOT_SET_AT_ALL"), 3, "NOT_SET_AT_ALL holds no key")
    expect("no file", run(base + "/good", "--key-file", folder + "/none"), 3)
    expect("both", run(base + "/good", "--key-file", path, "--key-env", "X"), 2, "contradict")
    expect("open", run("http://192.0.2.1/v1", "--key-file", path), 2, "in the open")
    expect("userinfo", run("http://me:secret@127.0.0.1/v1"), 2, "'@'")
    alone = subprocess.run([MUGA, "run", "--key-file", path, "x", "y"], capture_output=True)
    expect("alone", alone, 2, "need --remote")
    # proxies of the environment are not used
    dead = "http://127.0.0.1:1"
    env = {"http_proxy": dead, "HTTP_PROXY": dead, "all_proxy": dead, "ALL_PROXY": dead}
    expect("proxy of the environment", run(base + "/good", env=env), 0, out="It is late.\n")
    expect("proxy", run("http://example.invalid/good", "--proxy", base), 0, out="It is late.\n")
    assert asked[0][0] == "http://example.invalid/good/chat/completions", asked


def certificates(folder, name, subject):
    key, cert = folder + "/" + name + ".key", folder + "/" + name + ".pem"
    done = subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert,
                           "-days", "2", "-subj", "/CN=test", "-addext", "subjectAltName=" + subject],
                          capture_output=True)
    assert done.returncode == 0, done.stderr
    return cert, key


def tls(folder):
    own, other = certificates(folder, "own", "IP:127.0.0.1"), certificates(folder, "other", "DNS:example.com")
    good, bad = "https://127.0.0.1:%d/good" % serve(own), "https://127.0.0.1:%d/good" % serve(other)
    key = os.path.join(folder, "key")
    expect("unknown certificate", run(good, "--key-file", key), 6, "can't be trusted")
    assert not asked, "a server that isn't trusted was asked"
    expect("its own certificate", run(good, "--ca-file", own[0], "--key-file", key), 0, out="It is late.\n")
    expect("another name", run(bad, "--ca-file", other[0], "--key-file", key), 6, "can't be trusted")
    assert not asked, "a server of another name was asked"


def interrupted(base):
    p = subprocess.Popen([MUGA, "run", "--remote", base + "/silent", "big", "hello"], stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not asked or not asked[-1][0].startswith("/silent"):
        time.sleep(0.05)
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=300)
    if p.returncode != 130:
        failures.append("interrupted")
        print("interrupted: exit %d %r %r" % (p.returncode, out, err))


def llama_server():
    """MUGA_TEST_LLAMA_SERVER names a llama-server that runs already, as in http://127.0.0.1:8080."""
    base = os.environ.get("MUGA_TEST_LLAMA_SERVER")
    if not base:
        print("skipped: MUGA_TEST_LLAMA_SERVER names no server")
        return
    r = run(base, "--temp", "0", "-n", "16", "--verbose")
    assert r.returncode == 0 and r.stdout.strip() and b"answer " in r.stderr, (r.stdout, r.stderr)


def main():
    probe = run("http://127.0.0.1:1", "--retries", "0")
    if b"needs libcurl" in probe.stderr:
        expect("without libcurl", probe, 6, "needs libcurl")
        print("skipped: " + probe.stderr.decode().strip())
        return 1 if failures or os.environ.get("CI") == "true" else 77
    expect("nobody there", probe, 6, "can't connect")
    base = "http://127.0.0.1:%d" % serve()
    with tempfile.TemporaryDirectory() as folder:
        cases(base)
        keys(base, folder)
        tls(folder)
    interrupted(base)
    llama_server()
    return 1 if failures else 0


sys.exit(main())
