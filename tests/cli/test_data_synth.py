"""`muga data synth`, from a grammar and from a model behind an endpoint on this machine. If it fails, a run that was
killed can't go on, a budget is overrun, a file is written over, a line doesn't say who wrote it, or something other
than the manifest is sent to the server."""
# ctest: unthreaded (the threads are of the servers)
import http.server
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

MUGA = os.environ["MUGA_PROGRAM"]
asked = []
words = ["apple", "brick", "cloud", "drum", "eagle", "fern", "glove", "horn", "ink", "jar", "kite", "lamp", "moss"]


class Server(http.server.BaseHTTPRequestHandler):
    """Writes as many texts as it is asked for, each with the slot that its pattern wants; "wrong" answers wrongly."""

    def log_message(self, *args):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked.append(body)
        schema = body["response_format"]["json_schema"]["schema"]["properties"]["messages"]
        pattern = schema["items"]["properties"]["text"]["pattern"]
        slot = re.search(r"\\\{(\w+)\\\}", pattern)
        texts = []
        for i in range(schema["minItems"]):
            k = len(asked) * 20 + i
            said = " ".join(words[(k * p // q) % len(words)] for p, q in ((1, 1), (7, 3), (5, 13), (11, 7), (3, 29)))
            texts.append({"text": "%s%s %d" % (said, " {%s}" % slot.group(1) if slot else "", 7)})
        content = json.dumps({"messages": texts})
        if self.path.startswith("/wrong"):
            content = "Certainly! Here are some messages."
        if self.path.startswith("/slow"):
            time.sleep(0.2)
        answer = {"choices": [{"message": {"content": content}, "finish_reason": "stop"}],
                  "usage": {"prompt_tokens": 100, "completion_tokens": 50}}
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def muga(*arguments):
    return subprocess.run([MUGA, "data", "synth", "customer-service", *arguments], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=300)


def need(r, code, says=""):
    if r.returncode != code or says not in r.stderr:
        sys.exit("exit %d, expected %d with %r: %s%s" % (r.returncode, code, says, r.stdout, r.stderr))
    return r


def lines(path):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def check_lines(path, n):
    got = lines(path)
    assert len(got) >= n, (len(got), n)
    for line in got:
        user, answer = line["messages"][1]["content"], line["messages"][-1]
        assert line["by"] and line["labels"] and isinstance(line["request"], int), line
        assert "{" not in user, line
        for call in answer.get("tool_calls", []):
            order = json.loads(call["function"]["arguments"]).get("order_id")
            assert order is None or re.sub(r"\D", "", order) in re.sub(r"(?<=\d)[ -](?=\d)", "", user), line
    return got


def offline(folder):
    out, same = folder + "/a.jsonl", folder + "/b.jsonl"
    r = need(muga("--offline", "-o", out, "-n", "400", "--json"), 0)
    report = json.loads(r.stdout)
    assert report["lines"] == report["new"] == 400 and report["overlap"]["same"] == 0, report
    assert report["overlap"]["tasks"] > 400 and report["overlap"]["near"] == 0, report
    assert all(line["by"]["grammar"] == "grammar.yaml" for line in check_lines(out, 400))
    need(muga("--offline", "-o", same, "-n", "400"), 0)
    assert open(out).read() == open(same).read()
    need(muga("--offline", "-o", out), 2, "is there already; --resume goes on with it")
    # a run that was killed in the middle of a line
    with open(same, "r+") as f:
        whole = f.read().split("\n")
        f.seek(0)
        f.truncate()
        f.write("\n".join(whole[:200]) + "\n" + whole[200][:50])
    need(muga("--offline", "-o", same, "-n", "400", "--resume"), 0)
    assert open(out).read() == open(same).read(), "another file than in one run"
    with open(same, "a") as f:
        f.write("{}\n")
    need(muga("--offline", "-o", same, "-n", "500", "--resume"), 4, "b.jsonl:401: not a line")
    for form, key in (("label", "messages"), ("text", "text")):
        need(muga("--offline", "-o", folder + "/" + form, "-n", "50", "--target", form), 0)
        assert all(line[key] for line in lines(folder + "/" + form))


def grammars(folder):
    path = folder + "/g.yaml"
    for text, code, says in (
            ("version: 1\nmessages:\n  - {labels: [nothing], text: a}\n", 4, "g.yaml:3:6: key messages[0].labels"),
            ("version: 1\nmessages:\n  - {labels: [thanks], text: <x>}\n", 4, "there is no rule x"),
            ("version: 1\nmessages:\n  - {labels: [thanks], text: bless you}\n", 4, "gave nothing new"),
            ("messages: {", 4, "g.yaml:")):
        with open(path, "w") as f:
            f.write(text)
        need(muga("--offline", "--grammar", path, "-o", folder + "/g.jsonl"), code, says)
        if os.path.exists(folder + "/g.jsonl"):
            os.remove(folder + "/g.jsonl")
    need(muga("--offline", "--grammar", folder + "/none", "-o", folder + "/n"), 3)


def remote(base, folder):
    out = folder + "/r.jsonl"
    model = ("--remote", base, "--model", "big")
    r = need(muga(*model, "-o", out, "-n", "1000", "--max-requests", "4", "--near", "2", "--json"), 4,
             "4 requests are made")
    report = json.loads(r.stdout)
    assert report["requests"] == len(asked) == 4 and report["prompt_tokens"] == 400, report
    assert report["by"] == {"model": "big", "url": base + "/v1/chat/completions"}, report
    n = len(check_lines(out, 10))
    need(muga(*model, "-o", out, "-n", str(n + 10), "--resume", "--near", "2"), 0)
    got = check_lines(out, n + 10)
    assert sorted({line["request"] for line in got})[-1] >= 4
    assert len({line["messages"][1]["content"] for line in got}) == len(got)
    # what is sent is the manifest's, and no task of the evaluation
    sent = json.dumps(asked)
    assert "where an order is" in sent
    with open("agents/customer-service/eval/dev.jsonl", encoding="utf-8") as f:
        for task in f:
            assert json.dumps(json.loads(task)["messages"][0]) not in sent
    need(muga(*model, "-o", folder + "/t", "-n", "1000", "--max-tokens", "300", "--near", "2"), 4, "tokens are used")
    need(muga("--remote", base + "/wrong", "--model", "big", "-o", folder + "/w"), 4, "no valid answer in 3 attempts")
    assert os.path.getsize(folder + "/w") == 0
    need(muga("--remote", base, "-o", folder + "/x"), 2, "--remote needs --model")
    need(muga(*model, "-o", folder + "/x", "--label", "nothing"), 2, "no label \"nothing\"")
    need(muga(*model, "-o", folder + "/x", "--offline"), 2, "--offline asks no model")
    need(muga(*model), 2, "-o FILE is missing")
    need(muga(*model, "-o", folder + "/no/such/folder"), 6, "can't open")
    need(muga("--remote", "http://127.0.0.1:1", "--model", "big", "--retries", "0", "-o", folder + "/y"), 6,
         "can't connect")


def interrupted(base, folder):
    out = folder + "/i.jsonl"
    del asked[:]
    p = subprocess.Popen([MUGA, "data", "synth", "customer-service", "--remote", base + "/slow", "--model", "big", "-o",
                          out, "-n", "100000", "--near", "2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while len(asked) < 4:
        time.sleep(0.02)
    p.send_signal(signal.SIGINT)
    said = p.communicate(timeout=300)
    assert p.returncode == 130, (p.returncode, said)
    check_lines(out, 3)


def main():
    probe = subprocess.run([MUGA, "run", "--remote", "http://127.0.0.1:1", "--retries", "0", "x", "y"],
                           capture_output=True, text=True)
    with tempfile.TemporaryDirectory() as folder:
        offline(folder)
        grammars(folder)
        if "needs libcurl" in probe.stderr:
            print("skipped: " + probe.stderr.strip())
            return 1 if os.environ.get("CI") == "true" else 77
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = "http://127.0.0.1:%d" % server.server_port
        remote(base, folder)
        interrupted(base, folder)
    return 0


sys.exit(main())
