"""An agent's held call as clients of the server meet it: what is said meanwhile, who sees it, what the turn used. If it
fails, a message to a session that waits gets lost or looks forbidden, or a turn is charged for what it didn't do."""
# ctest: slow (an agent votes over its examples for each message)
import json
import os
import re
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.getcwd(), "tests/support"))
from program import expect, make_agent, muga
from server import MODEL, Server

AGENT = "customer-service"
RUN = f"/v1/agents/{AGENT}/run"
failures = []


def check(name, holds, *what):
    if not holds:
        failures.append(f"{name}: {' '.join(str(w)[:600] for w in what)}")


def hosted_agent(folder, weight="0"):
    """The agent in the box over the tiny model, alone in a folder. weight: of what the model says in decisions."""
    path = os.path.join(make_agent(folder), "agent.yaml")
    with open(path, encoding="utf-8") as f:
        text = f.read()
    text = re.sub(r"(?m)^model: .*$", f"model: {MODEL}", re.sub(r"(?m)^adapter: .*\n", "", text))
    text = re.sub("model_weight: 0", f"model_weight: {weight}", text)
    text = re.sub(r"(?m)^  expert:.*\n(?:    .*\n)+", "", text)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def until(holds, seconds=60):
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    return holds()


def held(s, **who):
    turn = s.post(RUN, {"input": "please reset my password", "session_values": {"customer": 7}}, **who)[2]
    if turn.get("outcome") != "held":
        sys.exit(f"not held: {turn}")
    return turn


def said_meanwhile(s):
    """A message while a call waits is a conflict that names the approval and where it is decided."""
    turn = held(s)
    more = {"input": "hello?", "session": turn["session"]}
    chat = {"model": "agent:" + AGENT, "messages": [{"role": "user", "content": "hello?"}]}
    for name, path, body in (("run", RUN, more), ("streamed", RUN, {**more, "stream": True}),
                             ("chat", "/v1/chat/completions", chat),
                             ("chat, streamed", "/v1/chat/completions", {**chat, "stream": True})):
        status, head, answer = s.post(path, body, headers={"x-muga-session": turn["session"]})
        error = answer["error"] if status != 200 else {}
        check(name, status == 409 and error.get("code") == "approval_pending" and turn["approval"] in error["message"]
              and "/v1/approvals/" in error["message"], status, answer)
        check(name + " names the session", head.get("x-muga-session") == turn["session"], head)
    still = s.post(RUN, {"session": turn["session"]})[2]
    check("still held", still.get("approval") == turn["approval"], still)
    denied = expect("no", muga(s.home, "approve", "no", turn["approval"], "--json"), 0)
    check("denied", json.loads(denied)["decision"] == "no", denied)
    check("goes on", s.post(RUN, {"session": turn["session"]})[2].get("outcome") == "refuse")
    after = s.post(RUN, more)
    check("takes messages again", after[0] == 200, after)


def shown(s):
    """One approval is what the list has of it, and nobody else's."""
    turn = held(s)
    listed = [a for a in s.get("/v1/approvals")[2]["data"] if a["approval"] == turn["approval"]]
    status, _, one = s.get("/v1/approvals/" + turn["approval"])
    check("one", status == 200 and [one] == listed and "dir" not in one, one, listed)
    check("as a person types it", s.get("/v1/approvals/" + turn["approval"].upper().replace("-", ""))[2] == one)
    status, _, body = s.get("/v1/approvals/zzzz-zzzz")
    check("none", status == 404 and body["error"]["code"] == "approval_not_found", status, body)
    return turn["approval"]


def by_keys(s, before):
    """With keys an approval is its tenant's."""
    def key(name, *more):
        made = muga(s.home, "key", "create", "--json", "--name", name, *more)
        return {"headers": {"Authorization": "Bearer " + json.loads(expect("key", made, 0))["key"]}}
    desk = key("desk", "--tenant", "shop", "--scope", "agents:*")
    boss = key("boss", "--tenant", "shop", "--scope", "approve:*")
    other = key("other", "--scope", "agents:*,approve:*")
    check("keys count", until(lambda: s.get("/v1/models")[0] == 401 and s.get("/v1/models", **other)[0] == 200))
    turn = held(s, **desk)
    path = "/v1/approvals/" + turn["approval"]
    seen = [s.get(path, **who)[2].get("approval") for who in (boss, desk)]
    check("the tenant's", seen == [turn["approval"]] * 2, seen)
    check("no other's", s.get(path, **other)[0] == 404)
    check("nobody's", s.get(path)[0] == 401)
    check("from before there were keys", s.get("/v1/approvals/" + before, **boss)[0] == 404)
    status, _, done = s.post(path, {"decision": "yes"}, **boss)
    check("decided", status == 200 and done["outcome"] == "finished", status, done)
    check("waits no more", s.get(path, **boss)[0] == 404)


def used(folder):
    """What a turn used is counted apart: in its answer, for the key, in the metrics."""
    hosted_agent(folder, "0.01")
    with Server("--agents", folder) as s:
        made = expect("key", muga(s.home, "key", "create", "--json", "--name", "ada", "--scope",
                                  "agents:*,metrics"), 0)
        ada = {"headers": {"Authorization": "Bearer " + json.loads(made)["key"]}}
        check("the key counts", until(lambda: s.get("/v1/models")[0] == 401 and s.get("/v1/models", **ada)[0] == 200))
        said = {"input": "what is your favourite colour", "session_values": {"customer": 7}}
        turns = [s.post(RUN, said, **ada)[2]["usage"] for _ in range(2)]
        chat = {"model": "agent:" + AGENT, "metadata": {"customer": "7"},
                "messages": [{"role": "user", "content": said["input"]}]}
        usage = s.post("/v1/chat/completions", chat, **ada)[2]["usage"]
        streamed = s.events("/v1/chat/completions", {**chat, "stream": True,
                                                     "stream_options": {"include_usage": True}}, **ada)
        check("streamed", streamed[-2][1]["usage"]["prompt_tokens"] == usage["prompt_tokens"], streamed)
        first, again = turns
        check("read, and nothing written", first["prompt_tokens"] > 50 and first["completion_tokens"] == 0, first)
        check("sums", all(u["total_tokens"] == u["prompt_tokens"] + u["completion_tokens"] for u in (*turns, usage)))
        check("the same is read again", again["prompt_tokens"] == first["prompt_tokens"] == usage["prompt_tokens"],
              turns, usage)
        check("from the cache", 0 < again["cached_tokens"] < again["prompt_tokens"] and
              usage["prompt_tokens_details"]["cached_tokens"] > 0, again, usage)
        all_read = 4 * first["prompt_tokens"]

        def charged():
            of_key = json.loads(expect("list", muga(s.home, "key", "list", "--json"), 0))[0]["used_today"]
            return of_key["requests"], of_key["prompt_tokens"], of_key["answer_tokens"]
        check("charged", until(lambda: charged() == (4, all_read, 0)), charged(), all_read)
        text = s.get("/metrics", **ada)[2].decode()
        counted = [line for line in text.splitlines() if "_tokens_total{" in line]
        check("metrics", f'muga:prompt_tokens_total{{model_name="{MODEL}:latest"}} {all_read}' in counted and
              sum(line.endswith(f'kind="prompt"}} {all_read}') for line in counted) == 1, counted)


with tempfile.TemporaryDirectory(prefix="muga-held-") as folder:
    used(folder)
with tempfile.TemporaryDirectory(prefix="muga-held-") as folder:
    hosted_agent(folder)
    with Server("--agents", folder) as server:
        said_meanwhile(server)
        by_keys(server, shown(server))
for line in failures:
    print(line)
sys.exit(1 if failures else 0)
