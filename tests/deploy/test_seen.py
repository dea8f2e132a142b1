#!/usr/bin/env python3
"""What a keeper sees of the server, and what the server does on its word: metrics, log, health, signals, sd_notify.
If this failed, Prometheus could not read the metrics, the log would hold keys or what people write, a change of the
configuration would need a restart, or a stop would cut answers short."""

import http.client
import json
import os
import signal
import socket
import sys
import tempfile
import threading

for folder in ("tests", "tests/support", "tests/deploy"):
    sys.path.insert(0, os.path.join(os.getcwd(), folder))
from exposition import parse  # noqa: E402
from program import PATIENCE_S, muga, until  # noqa: E402
from server import Server  # noqa: E402

CHAT = "/v1/chat/completions"
failures = []


def check(ok, what, *seen):
    if not ok:
        failures.append(what)
        print("FAILED:", what, *[str(s)[:2000] for s in seen], sep="\n  ", flush=True)


def body(text, **more):
    return {"model": "tiny", "messages": [{"role": "user", "content": text}], "max_tokens": 8, **more}


def value(families, name, **labels):
    found = [v for s, got, v in families[name][1] if s == name and all(got.get(k) == w for k, w in labels.items())]
    return sum(found) if found else None


def metrics(s, accept=None, headers=None):
    status, head, text = s.ask("GET", "/metrics", headers={**({"Accept": accept} if accept else {}), **(headers or {})})
    check(status == 200, "metrics answer", status, text)
    return parse(text.decode(), "openmetrics" in head["content-type"])


def see_that_an_answer_has_been_counted():
    """Who has an answer finds its request counted, a whole one as well as the end of a stream."""
    ended = b"data: [DONE]"
    with Server() as s:
        for n in range(1, 41):
            status, _, text = s.ask("POST", CHAT, body(f"the {n}th", stream=n % 2 == 0, max_tokens=1))
            check(status == 200 and (n % 2 or ended in text), "answered", status, text)
            seen = value(metrics(s), "muga:http_requests_total", route=CHAT, status="200")
            check(seen == n, "counted by then", n, seen)


def see_metrics():
    with Server() as s:
        metrics(s)
        for stream in (False, True):
            s.ask("POST", CHAT, body("hello", stream=stream))
        s.ask("POST", CHAT, {"model": "tiny"})
        s.ask("GET", "/nowhere")
        f = metrics(s)
        check(value(f, "muga:request_success_total", model_name="tiny:latest") == 2, "two succeeded", f)
        check(value(f, "muga:prompt_tokens_total", model_name="tiny:latest") > 10, "tokens of prompts", f)
        check(until(lambda: s.metric("num_requests_running", "tiny:latest") == 0), "none runs", f)
        check(value(f, "muga:http_requests_total", route=CHAT, status="400") == 1, "one was refused", f)
        check(value(f, "muga:http_requests_total", route="none", status="404") == 1, "one found no route", f)
        for name in ("time_to_first_token_seconds", "e2e_request_latency_seconds", "request_queue_time_seconds",
                     "request_prefill_time_seconds", "request_prompt_tokens", "iteration_tokens_total"):
            rows = dict((n, v) for n, _, v in f["muga:" + name][1])
            check(rows[f"muga:{name}_count"] >= 2, name, rows)
        open_form = metrics(s, "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
        check(open_form["muga:prompt_tokens"][0] == "counter", "OpenMetrics names families without _total", open_form)


def see_agents():
    with Server() as s:
        percept = {"percept": {"room": "study", "temperature": 15, "heating": 0}}
        check(s.ask("POST", "/v1/agents/thermostat/run", percept)[0] == 200, "a turn")
        f = metrics(s)
        check(value(f, "muga:agent_turns_total", agent="thermostat", outcome="answer") == 1, "turns", f)
        check(value(f, "muga:agent_tool_calls_total", tool="set_heating", state="finished") == 1, "calls", f)
        check(value(f, "muga:agent_steps_total", agent="thermostat") >= 1, "steps", f)
        check(value(f, "muga:approvals_waiting") == 0, "none waits", f)
        check(value(f, "muga:approvals_oldest_seconds") == 0, "and so none for long", f)


def see_rights_and_log():
    with tempfile.TemporaryDirectory() as home:
        def make(name, scopes):
            return muga(home, "key", "create", "--name", name, "--scope", scopes)[1]
        texts = [make("app", "models:*"), make("watcher", "metrics")]
        app, watcher = [next(w for w in t.split() if w.startswith("muga_")) for t in texts]
        with Server(home=home) as s:
            check(s.ask("GET", "/metrics")[0] == 401, "metrics need a key")
            check(s.ask("GET", "/metrics", headers={"Authorization": "Bearer " + app})[0] == 403, "and its scope")
            metrics(s, headers={"Authorization": "Bearer " + watcher})
            s.ask("POST", CHAT, body("my secret is 4711"), {"Authorization": "Bearer " + app})
            s.ask("GET", "/%7f%0Aforged", headers={"Authorization": "Bearer " + app})
            s.stop()
            said = s.said()
            lines = [json.loads(line) for line in said.splitlines()]
            asked = [x for x in lines if x.get("route") == CHAT]
            check(len(asked) == 1 and asked[0]["status"] == 200 and asked[0]["model"] == "tiny:latest" and
                  asked[0]["key"].startswith("key_") and asked[0]["prompt"] > 0 and asked[0]["id"].startswith("req_"),
                  "a request is one line", said)
            check("4711" not in said and app[8:] not in said and watcher[8:] not in said, "no text and no key", said)
        with Server(home=home, env={"MUGA_METRICS_OPEN": "true", "MUGA_LOG_CONTENTS": "true"}) as s:
            metrics(s)
            s.ask("POST", CHAT, body("my secret is 4711"), {"Authorization": "Bearer " + app})
            s.stop()
            check("4711" in s.said(), "contents are logged where that is wanted", s.said())
        with Server(home=home, env={"MUGA_METRICS": "false"}) as s:
            check(s.ask("GET", "/metrics", headers={"Authorization": "Bearer " + watcher})[0] == 404, "switched off")


def reload():
    with tempfile.TemporaryDirectory() as home:
        path = os.path.join(home, "muga.yaml")

        def write(text):
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)

        def reloaded(event, n):
            s.process.send_signal(signal.SIGHUP)
            check(until(lambda: s.said().count(f'"event":"{event}"') == n), event, s.said())

        write("models: {aliases: {gpt: tiny}}\nlimits: {running: 5}\n")
        with Server(home=home) as s:
            check(s.ask("POST", CHAT, body("a", model="gpt"))[0] == 200, "an alias")
            check(s.ask("POST", CHAT, body("a", model="other"))[0] == 404, "no alias yet")
            check(s.ask("POST", "/api/generate", {"model": "gpt"})[0] == 200, "loaded by its alias")
            check("'gpt'" in str(s.ask("GET", "/v1/models")[2]), "listed by its alias")
            check(s.ask("GET", "/v1/models/gpt")[0] == 200, "found by its alias")
            check("'gpt'" in str(s.ask("GET", "/api/tags")[2]), "tagged by its alias")
            check(s.ask("POST", "/api/show", {"model": "gpt"})[0] == 200, "shown by its alias")
            check(s.ask("POST", "/api/generate", {"model": "gpt", "keep_alive": 0})[0] == 200, "and unloaded")
            check(s.ask("POST", CHAT, body("a", model=None))[0] == 400, "no default yet")
            check(s.ask("GET", "/health", headers={"Host": "muga.example"})[0] == 403, "a host that isn't allowed")
            write("models: {default: tiny, aliases: {other: tiny}}\nlimits: {running: 6}\nhosts: [muga.example]\n")
            reloaded("config_read", 1)
            check(s.ask("POST", CHAT, body("a", model="other"))[0] == 200, "an alias since the reload")
            check(s.ask("POST", CHAT, body("a", model=None))[0] == 200, "a default since the reload")
            check(s.ask("POST", CHAT, body("a", model="gpt"))[0] == 404, "and one no more")
            check(s.ask("GET", "/health", headers={"Host": "muga.example"})[0] == 200, "a host since the reload")
            check('"event":"config_needs_restart","text":"limits.running"' in s.said(), "what waits", s.said())
            write("hosts: 3\n")
            reloaded("config_refused", 1)
            check(s.ask("POST", CHAT, body("a", model="other"))[0] == 200, "a wrong file changes nothing")
            check(value(metrics(s), "muga:config_reloads_total", outcome="failed") == 1, "counted")


def notified():
    with tempfile.TemporaryDirectory() as home:
        heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        heard.bind(os.path.join(home, "notify"))
        heard.settimeout(PATIENCE_S)
        with Server(env={"NOTIFY_SOCKET": os.path.join(home, "notify"), "MUGA_PINNED": "tiny"}) as s:
            check(heard.recv(100) == b"READY=1", "ready")
            check(s.ask("GET", "/health/ready")[0] == 200, "and health says so")
            check(value(metrics(s), "muga:model_memory_bytes", model_name="tiny:latest") > 0, "the pinned one is there")
            s.process.send_signal(signal.SIGHUP)
            check([heard.recv(100), heard.recv(100)] == [b"RELOADING=1", b"READY=1"], "reloading")
            s.process.send_signal(signal.SIGTERM)
            check(heard.recv(100) == b"STOPPING=1", "stopping")
            check(s.process.wait(PATIENCE_S) == 0, "and it ends", s.said())
        with Server(env={"NOTIFY_SOCKET": "not/a/path"}) as s:
            check(s.ask("GET", "/health/live")[0] == 200, "a keeper that isn't there stops nobody")


def stop():
    """While a stream runs: ready says 503, the stream ends whole, and then the process."""
    with Server("--drain", "300s") as s:
        running = s.connect()
        running.request("POST", CHAT, json.dumps(body("go on", stream=True, max_tokens=400, ignore_eos=True)),
                        {"Content-Type": "application/json"})
        reply = running.getresponse()
        idle = s.connect()
        idle.request("GET", "/health/ready")
        check(idle.getresponse().read() and True, "before")
        done = []
        reader = threading.Thread(target=lambda: done.append(reply.read()))
        s.process.send_signal(signal.SIGTERM)
        status = 200
        try:
            while status == 200:  # the signal may not have been seen yet
                idle.request("GET", "/health/ready")
                reply_now = idle.getresponse()
                status = reply_now.status if reply_now.read() else 0
            check(status == 503, "ready while stopping", status)
        except (http.client.HTTPException, OSError):
            pass  # the stream was there whole before, and the server gone (cli/test_serve_stop.py waits for it)
        reader.start()
        reader.join(PATIENCE_S)
        check(done and done[0].rstrip().endswith(b"data: [DONE]"), "the stream has its last event", done[:1], s.said())
        check(s.process.wait(PATIENCE_S) == 0, "it ended in order", s.said())


for part in (see_that_an_answer_has_been_counted, see_metrics, see_agents, see_rights_and_log, reload, notified, stop):
    part()
sys.exit(f"{len(failures)} failed" if failures else 0)
