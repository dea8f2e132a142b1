"""muga ps, muga stop and muga run --keepalive ask a server; here one that answers as muga's own and Ollama's do, and
some that don't. If it fails, a person is told something else than the server says, or waits for one that isn't
there."""
# ctest: unthreaded (the threads are of the servers)
import http.server
import json
import os
import socketserver
import subprocess
import sys
import tempfile
import threading

MUGA = os.environ["MUGA_PROGRAM"]
asked = []
PS = {"models": [
    {"name": "shop:latest", "model": "shop:latest", "size": 98400000, "digest": "ab" * 32, "context_length": 4096,
     "expires_at": "2318-01-01T00:00:00Z", "size_vram": 0},
    {"name": "evil\x1b[2J:latest", "size": -1, "digest": "../../x",
     "expires_at": "2020-01-01T00:00:00.123456789+02:00"},
    {"name": 7, "expires_at": []}]}


class Server(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def give(self, status, value):
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        asked.append((self.path, self.headers.get("Authorization"), None))
        if self.path.startswith("/locked"):
            self.give(401, {"error": "a key is needed"})
        elif self.path.startswith("/other"):
            self.give(200, b"<html>not this</html>")
        elif self.path.startswith("/broken"):
            self.give(500, b"")
        else:
            self.give(200, PS)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked.append((self.path, self.headers.get("Authorization"), body))
        if self.path == "/v1/chat/completions":
            chunk = {"choices": [{"index": 0, "delta": {"content": "Yes."}, "finish_reason": "stop"}]}
            text = b"data: " + json.dumps(chunk).encode() + b"\n\ndata: [DONE]\n\n"
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)
        elif body["model"] == "nosuch":
            self.give(404, {"error": "model 'nosuch' not found"})
        else:
            self.give(200, {"model": body["model"], "done": True, "done_reason": "unload"})


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
HOST = f"127.0.0.1:{server.server_address[1]}"


def run(code, *parts, arguments, env=None):
    done = subprocess.run([MUGA, *arguments], env={**os.environ, **(env or {})}, capture_output=True, text=True,
                          timeout=300, check=False)
    text = done.stdout + done.stderr
    missing = [p for p in parts if p not in text]
    if done.returncode != code or missing or "\x1b" in text:
        sys.exit(f"{arguments}: exit {done.returncode}, expected {code} and {missing} in:\n{text}")
    return done.stdout


table = run(0, "shop:latest", "abababababab", "98.4 MB", "4096", "forever", "now", arguments=["ps", "--host", HOST])
if len(table.splitlines()) != 4:
    sys.exit(f"ps: a line a model expected:\n{table}")
run(0, "shop:latest", arguments=["ps"], env={"MUGA_HOST": HOST, "OLLAMA_HOST": "127.0.0.1:1"})
if json.loads(run(0, arguments=["ps", "--json", "--host", "http://" + HOST + "/"])) != PS:
    sys.exit("ps --json is not the server's answer")
run(5, "the server says: a key is needed", "--key-file", arguments=["ps", "--host", f"http://{HOST}/locked"])
run(4, "no muga server", arguments=["ps", "--host", f"http://{HOST}/other"])
run(6, "status 500", arguments=["ps", "--host", f"http://{HOST}/broken"])
run(6, "no server answers at http://127.0.0.1:1/api/ps; start one with `muga serve`",
    arguments=["ps", "--host", "127.0.0.1:1"])
run(6, "no server answers", arguments=["stop", "shop"], env={"MUGA_HOST": "127.0.0.1:1"})
run(0, "shop:latest", arguments=["ps"], env={"MUGA_HOST": f"unix:/x,{HOST},127.0.0.1:1"})
run(6, "http://[::1]:1/api/ps", arguments=["ps", "--host", "[::1]:1"])
run(6, "no server answers at unix:/nowhere/x;", arguments=["ps", "--host", "unix:/nowhere/x"])
for wrong in ("unix:", "unix:/", "unix:x"):
    run(2, "is no Unix socket", arguments=["ps", "--host", wrong])
with tempfile.TemporaryDirectory(prefix="muga-ps-") as folder:
    class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        def get_request(self):
            connection, _ = super().get_request()
            return connection, ("unix", 0)

    path = os.path.join(folder, "s.sock")
    local = UnixServer(path, Server)
    threading.Thread(target=local.serve_forever, daemon=True).start()
    run(0, "shop:latest", arguments=["ps", "--host", "unix:" + path])
    run(0, "shop:latest", arguments=["ps"], env={"MUGA_HOST": f"unix:{path},unix:/nowhere/x"})
    asked.clear()
    run(0, "shop is unloaded", arguments=["stop", "shop"], env={"MUGA_HOST": "unix:" + path})
    if [a[0] for a in asked] != ["/api/generate"]:
        sys.exit(f"stop over a Unix socket asks {asked}")
    local.shutdown()
    local.server_close()
run(2, "", arguments=["ps", "--host", "ftp://x"])

asked.clear()
run(0, "shop is unloaded", arguments=["stop", "shop", "--host", HOST, "--key-env", "KEY"], env={"KEY": "sk-1"})
if asked != [("/api/generate", "Bearer sk-1", {"model": "shop", "keep_alive": 0, "stream": False})]:
    sys.exit(f"stop asks {asked}")
run(3, "the server says: model 'nosuch' not found", arguments=["stop", "nosuch", "--host", HOST])
run(3, "holds no key", arguments=["stop", "shop", "--host", HOST, "--key-env", "NOSUCH"])

asked.clear()
run(0, "Yes.", arguments=["run", "--remote", f"http://{HOST}/v1", "shop", "--keepalive", "10m", "Do you?"])
if [a[0] for a in asked] != ["/v1/chat/completions", "/api/generate"] or asked[1][2]["keep_alive"] != "10m":
    sys.exit(f"run --keepalive asks {asked}")
run(2, "for a server's model", arguments=["run", "shop", "--keepalive", "10m", "x"])
print("ps and stop as expected")
