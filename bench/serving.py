"""What bench/shared, bench/bfcl and bench/toolcall share: llama-server on the loopback, and whether calls are valid."""
import http.client, json, socket, subprocess, time
from measuring import MUGA, stop


class Server:
    """llama-server of the folder `peer`, for as long as it is needed; answers are waited for `timeout` seconds."""

    def __init__(self, peer, path, options, timeout=300):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.timeout, self.connection = timeout, None
        self.process = subprocess.Popen([str(a) for a in (peer / "llama-server", "-m", path, *options, "--host",
                                                          "127.0.0.1", "--port", self.port)],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def wait_until_ready(self):
        for _ in range(600):
            if self.process.poll() is not None:
                stop("llama-server ended before it was ready")
            try:
                if self.send("GET", "/health", None)[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        stop("llama-server didn't get ready in a minute")

    def send(self, method, path, body):
        """(status, text), over a connection of its own."""
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.timeout)
        try:
            c.request(method, path, body, {"Content-Type": "application/json"})
            r = c.getresponse()
            return r.status, r.read()
        finally:
            c.close()

    def close(self):
        self.process.terminate()
        self.process.wait()


def calls_of(message):
    """The calls of a chat completion's message: {"name", "arguments"}; arguments None where they are no JSON."""
    calls = []
    for c in message.get("tool_calls") or []:
        try:
            arguments = json.loads(c["function"]["arguments"])
        except ValueError:
            arguments = None
        calls.append({"name": c["function"]["name"], "arguments": arguments})
    return calls


def validate(rows):
    """Of each (tools, call): is it valid, its tool one of these and its arguments by that tool's schema?"""
    lines, of = [], []
    for tools, call in rows:
        schema = [t["function"].get("parameters", {}) for t in tools if t["function"]["name"] == call["name"]]
        of.append(bool(schema) and isinstance(call["arguments"], dict))
        if of[-1]:
            lines.append(json.dumps({"schema": schema[0], "data": call["arguments"]}))
    given = "".join(line + "\n" for line in lines)
    done = subprocess.run([MUGA, "debug", "validate"], input=given, capture_output=True, text=True, check=True)
    verdicts = iter(done.stdout.splitlines())
    return [good and next(verdicts) == "true" for good in of]
