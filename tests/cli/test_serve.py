"""The server as its clients meet it: errors by family, models that come and go, agents and their sessions, streams that
are left, and its end. If it fails, a program that was written for another server hangs, believes something that isn't
so, or loses an answer."""
import json
import os
import signal
import sys
import threading

sys.path.insert(0, os.path.join(os.getcwd(), "tests/support"))
from program import muga, until
from server import MODEL, Server

failures = []


def check(name, holds, *what):
    if not holds:
        failures.append(f"{name}: {' '.join(str(w)[:300] for w in what)}")


def generate(n, prompt="A story", **more):
    return {"model": MODEL, "prompt": prompt, "raw": True, "options": {"num_predict": n, "temperature": 0, **more}}


def until_said(s, *parts):
    """Does the log have these parts, now or soon?"""
    return until(lambda: all(p in s.said() for p in parts))


def errors(s):
    for path, form in (("/v1/none", lambda e: e["error"]["message"] and e["error"]["code"] == "unknown_url"),
                       ("/api/none", lambda e: isinstance(e["error"], str)),
                       ("/v1/messages/none", lambda e: e["type"] == "error" and e["error"]["type"])):
        status, head, body = s.post(path, {})
        check(path, status == 404 and form(body), status, body)
    for path, meant in (("/v1/v1/messages", "/v1/messages"), ("/chat/completions", "/v1/chat/completions"),
                        ("/v1//chat/completions/", "/v1/chat/completions"), ("/v1/api/chat", "/api/chat")):
        status, _, body = s.post(path, {})
        check(path, status == 404 and f"did you mean {meant}?" in json.dumps(body), status, body)
    check("said in the log", until_said(s, "there is no /chat/completions here"), s.said())
    check("none is near", "mean" not in json.dumps(s.post("/v1/" + "v1/" * 500, {})[2]))
    status, head, body = s.get("/api/chat")
    check("method", status == 405 and head.get("allow") == "POST", status, head)
    for method, path, allow in (("POST", "/v1/models", "GET, HEAD"), ("GET", "/api/blobs/sha256:0", "HEAD, POST"),
                                ("PUT", "/v1/sessions/x", "GET, HEAD, DELETE"), ("OPTIONS", "/api/chat", "POST")):
        status, head, _ = s.ask(method, path, {})
        check(f"{method} {path}", status == 405 and head.get("allow") == allow, status, head)
    for coding, status in (("gzip", 415), ("br, gzip", 415), ("identity", 400), ("Identity", 400)):
        got, head, body = s.ask("POST", "/api/chat", {}, headers={"Content-Encoding": coding})
        check(f"a body in {coding}", got == status and body["error"] and
              head.get("accept-encoding") == ("identity" if status == 415 else None), got, head, body)
    for name, raw in (("no JSON", b"{"), ("not an object", b"[1]"), ("nothing", b""), ("deep", b"[" * 100000),
                      ("twice", b'{"model": "a", "model": "b"}')):
        status, _, body = s.post("/api/chat", raw)
        check(name, status == 400 and body["error"], status, body)
    for field, value in (("temperature", -1), ("temperature", 1e308), ("top_p", 2), ("num_predict", -9),
                         ("seed", 1e300),
                         ("top_k", "many"), ("top_k", 1.5), ("mirostat", 2), ("repeat_penalty", -(2 ** 63))):
        status, _, body = s.post("/api/generate", generate(1, **{field: value}))
        check(f"{field} {value}", status == 400 and f"options.{field}" in body["error"], status, body)
    for field, value in (("suffix", "x"), ("template", "{{ .Prompt }}"), ("images", ["aGk="]), ("format", "xml"),
                         ("think", "deeply"), ("keep_alive", "soon"), ("model", 7), ("context", [-1]),
                         ("context", [2 ** 40])):
        status, _, body = s.post("/api/generate", {**generate(1), field: value})
        check(f"{field} {value}", status == 400 and field in body["error"], status, body)
    status, head, body = s.post("/api/generate", {**generate(1), "stream": False, "wish": 1, "options": {"luck": 2}})
    ignored = set(head.get("x-muga-ignored", "").split(", "))
    check("ignored", status == 200 and ignored == {"wish", "options.luck"}, head)
    check("request id", head.get("x-request-id", "").startswith("req_"), head)
    for name in ("nobody", "../../etc/passwd", "/etc/passwd", "a" * 300, "x y"):
        for path in ("/api/generate", "/api/show", "/api/copy", "/api/delete"):
            body = {"model": name, "prompt": "x", "source": name, "destination": "y"}
            status, _, said = s.ask("DELETE" if path == "/api/delete" else "POST", path, body)
            check(f"{path} {name[:20]}", status == 404 and "not found" in said["error"] or "no model" in said["error"],
                  status, said)


def models(s):
    check("version", s.get("/api/version")[2].get("version"))
    tags = s.get("/api/tags")[2]["models"]
    check("tags", [m["name"] for m in tags] == [MODEL + ":latest"], tags)
    whole = s.post("/api/generate", {**generate(12), "stream": False})[2]
    check("whole", whole["done"] and whole["eval_count"] <= 12 and whole["prompt_eval_count"] > 0, whole)
    lines = s.lines("/api/generate", generate(12))
    check("stream", "".join(x["response"] for x in lines) == whole["response"] and lines[-1]["done"], lines)
    check("copy", s.post("/api/copy", {"source": MODEL, "destination": "second"})[0] == 200)
    again = s.post("/api/generate", {**generate(12), "model": "second", "stream": False})[2]
    check("copied", again.get("response") == whole["response"], again)
    names = {m["name"] for m in s.get("/api/ps")[2]["models"]}
    check("loaded", names == {MODEL + ":latest", "second:latest"}, names)
    check("unload", s.post("/api/generate", {"model": "second", "keep_alive": 0, "stream": False})[2]["done_reason"] ==
          "unload")
    check("delete", s.ask("DELETE", "/api/delete", {"model": "second"})[0] == 200)
    names = {m["name"] for m in s.get("/api/ps")[2]["models"]}
    check("unloaded", names == {MODEL + ":latest"}, names)
    status, _, body = s.post("/api/create", {"model": "mine", "from": MODEL, "parameters": {"num_predict": 3},
                                             "stream": False})
    check("create", status == 200 and body["status"] == "success", status, body)
    body = s.post("/api/generate", {"model": "mine", "prompt": "A story", "raw": True, "stream": False})[2]
    check("its parameters", body.get("eval_count", 99) <= 3, body)
    body = s.post("/api/show", {"model": "mine"})[2]
    check("show", "num_predict" in body["parameters"] and body["model_info"], body)
    for path in ("/etc/passwd", "./tiny.gguf"):
        status, _, body = s.post("/api/create", {"model": "evil", "from": path, "stream": False})
        check(f"create from {path}", status in (400, 404), status, body)
    for name, model, status in (("pull", "nowhere", 501), ("push", MODEL, 501), ("pull", MODEL, 200)):
        check(name, s.post("/api/" + name, {"model": model, "stream": False})[0] == status)


def blobs(s):
    import hashlib
    data = os.urandom(300000)
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    check("no blob", s.ask("HEAD", f"/api/blobs/{digest}")[0] == 404)
    check("put", s.ask("POST", f"/api/blobs/{digest}", data)[0] == 201)
    check("blob", s.ask("HEAD", f"/api/blobs/{digest}")[0] == 200)
    status, _, body = s.ask("POST", "/api/blobs/sha256:" + "0" * 64, data)
    check("wrong digest", status == 400, status, body)
    for wrong in ("sha256:zz", "sha256:" + "A" * 64, "sha256-" + "0" * 64, "..%2f..%2fetc", "sha256:" + "0" * 63):
        for method in ("HEAD", "POST"):
            status = s.ask(method, f"/api/blobs/{wrong}", data if method == "POST" else None)[0]
            check(f"{method} {wrong[:20]}", status in (400, 404), status)


def tokens(s):
    body = s.post("/tokenize", {"model": MODEL, "content": "A story of a fox"})[2]
    back = s.post("/detokenize", {"model": MODEL, "tokens": body["tokens"]})[2]
    check("tokens", back["content"] == "A story of a fox" and body["count"] == len(body["tokens"]), body, back)
    check("no token", s.post("/detokenize", {"model": MODEL, "tokens": [2 ** 30]})[0] == 400)
    body = s.post("/apply-template", {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]})[2]
    check("template", "Hello" in body.get("prompt", ""), body)
    check("no template", s.post("/apply-template", {"model": MODEL, "messages": [{"role": "user", "content": "x"}],
                                                    "chat_template": "{{ messages }}"})[0] == 400)


def agents(s):
    ids = {a["id"] for a in s.get("/v1/agents")[2]["data"]}
    check("agents", {"thermostat", "stock-keeper"} <= ids, ids)
    check("no agent", s.get("/v1/agents/nobody")[0] == 404)
    check("no path", s.post("/v1/agents/..%2fx/run", {"input": "x"})[0] in (400, 404))
    about = s.get("/v1/agents/thermostat")[2]
    check("about", about["tools"] and about["percept"], about)
    percept = {"room": "study", "temperature": 15, "heating": 0}
    turn = s.post("/v1/agents/thermostat/run", {"percept": percept})[2]
    session = turn["session"]
    check("turn", turn["outcome"] == "answer" and "heating on" in turn["text"], turn)
    wrong = s.post("/v1/agents/thermostat/run", {"percept": {"room": "study"}})[2]
    check("wrong percept", wrong["outcome"] == "refuse" and "temperature" in wrong["text"], wrong)
    events = s.events("/v1/agents/thermostat/run", {"percept": percept, "session": session, "stream": True})
    check("events", events[0][0] == "session" and events[-1][0] == "turn", [e[0] for e in events])
    kept = s.get(f"/v1/sessions/{session}")[2]
    check("session", kept["session"]["session"] == session, kept)
    check("no paths", not {"dir", "data_dir"} & set(kept["session"]) and s.home not in json.dumps(kept), kept)
    messages = {"messages": [{"role": "user", "content": "x"}]}
    for path, said in (("/v1/responses", {"input": "x"}), ("/v1/messages", {"max_tokens": 4, **messages}),
                       ("/v1/completions", {"prompt": "x"}), ("/v1/embeddings", {"input": "x"}),
                       ("/api/chat", messages)):
        status, _, body = s.post(path, {"model": "agent:thermostat", **said})
        check(f"agent at {path}", status == 404 and "/v1/chat/completions" in json.dumps(body), status, body)
    check("sessions", session in json.dumps(s.get("/v1/agents/thermostat/sessions")[2]))
    check("audit", s.get("/v1/audit/verify")[2]["whole"] is True)
    check("records", len(s.get(f"/v1/audit?session={session}")[2]["data"]) > 0)
    check("forget", s.ask("DELETE", f"/v1/sessions/{session}")[0] == 200)
    check("still whole", s.get("/v1/audit/verify")[2]["whole"] is True)
    check("no input", s.post("/v1/agents/thermostat/run", {})[0] == 400)
    rehearsed = s.post("/v1/agents/thermostat/run", {"session": session, "percept": percept, "dry": True})
    check("no dry run of what was begun in earnest", rehearsed[0] == 400 and "isn't a dry run" in str(rehearsed[2]),
          rehearsed)
    check("no session", s.post("/v1/agents/thermostat/run", {"session": "s-none", "percept": percept})[0] == 404)
    check("nobody decides", s.post("/v1/approvals/a-1", {"decision": "yes"})[0] == 403)


def story(n):
    return {"model": "story", "prompt": "Write a long story.",
            "options": {"num_predict": n, "temperature": 0.8, "seed": 5}}


def agent_as_model(s):
    """A client that knows no sessions sends all that was said, and goes on in the same one."""
    ids = {m["id"] for m in s.get("/v1/models")[2]["data"]}
    check("listed", "agent:customer-service" in ids, ids)
    check("one", s.get("/v1/models/agent:customer-service")[2].get("id") == "agent:customer-service")
    check("none", s.get("/v1/models/agent:nobody")[0] == 404)
    said = [{"role": "user", "content": "Where is my order A10002?"}]
    ask = {"model": "agent:customer-service", "metadata": {"customer": "7"}}
    status, head, first = s.post("/v1/chat/completions", {**ask, "messages": said, "temperature": 0.5})
    if status != 200:
        check("agent", False, status, first)
        return
    session = head["x-muga-session"]
    text = first["choices"][0]["message"]["content"]
    check("answer", text and first["muga"]["session"] == session and head.get("x-muga-ignored") == "temperature", first)
    said += [{"role": "assistant", "content": text}, {"role": "user", "content": "And A10001?"}]
    events = s.events("/v1/chat/completions", {**ask, "messages": said, "stream": True})
    check("streamed", events[-1][1] == "[DONE]" and "".join(
        e[1]["choices"][0]["delta"].get("content") or "" for e in events[:-1] if e[1]["choices"]), events)
    history = s.get(f"/v1/sessions/{session}")[2]["history"]
    check("one session", sum(h["role"] == "user" for h in history) == 2, history)
    other = s.post("/v1/chat/completions", {**ask, "messages": said[:1]})[1]["x-muga-session"]
    check("another begins anew", other != session)
    by_name = s.post("/v1/chat/completions", {**ask, "messages": said[-1:]}, headers={"x-muga-session": session})[1]
    check("by name", by_name.get("x-muga-session") == session, by_name)
    for field, value in (("tools", [{"type": "function", "function": {"name": "f"}}]), ("n", 2), ("logprobs", True),
                         ("response_format", {"type": "json_object"})):
        status, _, body = s.post("/v1/chat/completions", {**ask, "messages": said[:1], field: value})
        check(field, status == 400 and body["error"]["param"] == field, status, body)
    check("no agent", s.post("/v1/chat/completions", {"model": "agent:nobody", "messages": said[:1]})[0] == 404)
    status, _, body = s.post("/v1/chat/completions", {"model": ask["model"], "messages": said[:1]})
    check("no values", status == 400 and "metadata" in body["error"]["message"] and "customer" in
          body["error"]["message"], status, body)


def left_streams(s):
    """A stream that nobody reads any more ends, also one whose prompt is read or that waits: long before its tokens."""
    def computed():
        return s.metric("iteration_tokens_total_sum", "story:latest") or 0

    for prompt, most in (("Write a long story.", 6 * 4000), ("word " * 6000, 6 * 6000)):
        before = computed()
        open_ones = []
        for _ in range(6):
            c = s.connect()
            c.request("POST", "/api/generate", json.dumps({**story(4000), "prompt": prompt}),
                      {"Content-Type": "application/json"})
            if len(prompt) < 100:
                c.getresponse().read(20)
            open_ones.append(c)
        check("they compute", until(lambda: computed() > before + 50))
        for c in open_ones:
            c.close()
        check("left streams", until(lambda: s.metric("num_requests_running", "story:latest") == 0 and
                                    s.metric("num_requests_waiting") == 0))
        check("not to their end", computed() - before < most, computed() - before)


def ends(path):
    """SIGTERM: what is being said ends with a last line, what comes is refused, and the exit code is 0."""
    with Server(models=(("story", path),)) as s:
        c = s.connect()
        c.request("POST", "/api/generate", json.dumps(story(100000)), {"Content-Type": "application/json"})
        r = c.getresponse()
        r.readline()
        s.process.send_signal(signal.SIGTERM)
        check("stopping", until_said(s, '"event":"stopping"'), s.said())
        s.process.send_signal(signal.SIGTERM)  # asked twice: now
        last = json.loads(r.read().decode().splitlines()[-1])
        check("last line", "error" in last or last.get("done"), last)
        check("exit", s.stop() == 0, s.said())


def doors():
    with Server() as s:
        status, _, body = s.ask("GET", "/api/tags", headers={"Host": "evil.example"})
        check("rebinding", status == 403, status, body)
        status, _, body = s.ask("POST", "/api/show", {"model": MODEL}, headers={"Origin": "http://evil.example"})
        check("origin", status == 403, status, body)
        code, out, err = muga(s.home, "key", "create", "--name", "ada", "--scope", "models:*")
        key = [w for w in out.split() if w.startswith("muga_")][0]
        check("no key", until(lambda: s.get("/api/tags")[0] == 401))
        check("wrong key", s.get("/api/tags", headers={"Authorization": "Bearer muga_wrong"})[0] == 401)
        for head in ({"Authorization": "Bearer " + key}, {"x-api-key": key}):
            check("key", s.get("/api/tags", headers=head)[0] == 200)
        check("right", s.ask("DELETE", "/api/delete", {"model": MODEL}, headers={"x-api-key": key})[0] == 403)
        check("open", s.get("/health")[0] == 200)
        check("secret", key not in s.said())


def elsewhere():
    import tempfile
    with tempfile.TemporaryDirectory() as home:
        for where in ("0.0.0.0:0", "[::]:0"):
            code, _, err = muga(home, "serve", "--listen", where)
            check(f"without keys on {where}", code == 2 and "key" in err, code, err)
        for where in ("nonsense:x", "127.0.0.1:99999", "unix:", "127.0.0.1:"):
            code, _, err = muga(home, "serve", "--listen", where)
            check(f"listen {where}", code in (2, 6) and err.count("\n") == 1, code, err)
        code, _, err = muga(home, "serve", "--listen", "127.0.0.1:0", "--tls-cert", "/nonexistent", "--tls-key",
                            "/nonexistent")
        check("certificate", code in (2, 3, 4, 6) and "/nonexistent" in err, code, err)
        code, _, err = muga(home, "serve", "--listen", "127.0.0.1:0", "--agents", os.path.join(home, "gone"))
        check("no agents' folder", code == 3 and "gone" in err and err.count("\n") == 1, code, err)
        with Server("--agents", home, home=os.path.join(home, "not", "yet", "there"), models=()) as s:
            check("first of all commands", s.get("/v1/models")[0] == 200)


def missing_models():
    """What the configuration names and the store lacks is said at the start, not only to the first client."""
    with Server("--alias", "gpt=nosuch", "--model", "gone", models=()) as s:
        check("missing models", until_said(s, "models.default: no model 'gone:latest'",
                                           "models.aliases: no model 'nosuch:latest'", "no_models"), s.said())
    with Server("--alias", "gpt=" + MODEL, "--model", "gpt") as s:
        s.get("/health")
        s.stop()
        check("nothing is missing", "missing" not in s.said() and "no_models" not in s.said(), s.said())


def folder_goes():
    """Where a folder of agents is removed, its agents are gone and nothing else."""
    import tempfile
    folder = tempfile.mkdtemp()
    with Server("--agents", folder) as s:
        os.rmdir(folder)
        status, _, body = s.get("/v1/models")
        check("models without the folder", status == 200 and MODEL in {m["id"] for m in body["data"]}, status, body)
        check("agents without the folder", s.get("/v1/agents")[0] == 200)


def sockets():
    import socket
    with Server() as first:
        path = os.path.join(first.home, "s.sock")
        with Server("--listen", "unix:" + path, home=os.path.join(first.home, "other")) as s:
            with socket.socket(socket.AF_UNIX) as u:
                u.connect(path)
                u.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                check("unix socket", b"200 OK" in u.recv(4096))
            code, out, err = muga(first.home, "ps", "--host", "unix:" + path)
            check("ps over it", code == 0 and "NAME" in out, code, out, err)
            check("mode", os.stat(path).st_mode & 0o777 == 0o600)


def side_by_side(s):
    """Many at once get what each gets alone."""
    prompts = [f"Number {i} is" for i in range(12)]
    alone = [s.post("/api/generate", {**generate(10, p), "stream": False})[2]["response"] for p in prompts]
    got = [None] * len(prompts)

    def ask(i):
        got[i] = s.post("/api/generate", {**generate(10, prompts[i]), "stream": False})[2]["response"]

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(prompts))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    check("side by side", got == alone, got, alone)


with Server() as server:
    for part in (errors, models, blobs, tokens, agents, side_by_side):
        part(server)
for part in (doors, elsewhere, missing_models, folder_goes, sockets):
    part()
real = os.environ.get("MUGA_TEST_MODEL", "")
if os.path.isfile(real):
    with Server(models=(("story", real), ("smollm2-135m-instruct", real))) as server:
        left_streams(server)
        agent_as_model(server)
    ends(real)
else:
    print("skipped: the model isn't there, so long streams weren't left")
for line in failures:
    print(line)
sys.exit(1 if failures else 0)
