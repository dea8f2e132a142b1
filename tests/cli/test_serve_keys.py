"""Keys as the server's clients meet them: what each may, how much, whose prompts are found again. If it fails, a forged
key is let in, a key does what it may not, one tenant finds what another asked, or a client waits for ever."""
# ctest: slow unthreaded (the threads are of the clients; 20,000 requests)
import http.client
import json
import os
import sys
import threading

sys.path.insert(0, os.path.join(os.getcwd(), "tests/support"))
from program import PATIENCE_S, expect, muga, until
from server import MODEL, Server

REAL = os.environ.get("MUGA_TEST_MODEL", "")
failures = []


def check(name, holds, *what):
    if not holds:
        failures.append(f"{name}: {' '.join(str(w)[:300] for w in what)}")


def bearer(key):
    return {"headers": {"Authorization": "Bearer " + key}}


def make_key(s, name, *options):
    made = expect(f"key {name}", muga(s.home, "key", "create", "--json", "--name", name, *options), 0)
    return json.loads(made)["key"]


def chat(text="Where is my order?", n=4, model=MODEL):
    return {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": n, "temperature": 0}


def rights(s, keys):
    """What goes with which key: method, path, body, and the statuses by key."""
    generate = {"model": MODEL, "prompt": "x", "stream": False, "options": {"num_predict": 1}}
    percept = {"percept": {"room": "study", "temperature": 15, "heating": 0}}
    table = (
        ("POST", "/v1/chat/completions", chat(), {"none": 401, "plain": 200, "other": 403, "agent": 403, "admin": 403}),
        ("POST", "/v1/messages", chat(), {"none": 401, "plain": 200, "other": 403}),
        ("POST", "/v1/embeddings", {"model": MODEL, "input": "x"}, {"none": 401, "plain": 200, "other": 403}),
        ("POST", "/api/generate", generate, {"none": 401, "plain": 200, "other": 403}),
        ("POST", "/api/generate", {"model": MODEL}, {"other": 403, "admin": 200}),
        ("POST", "/api/generate", {"model": MODEL, "keep_alive": 0}, {"other": 403, "agent": 403, "admin": 200}),
        ("POST", "/api/show", {"model": MODEL}, {"none": 401, "plain": 200, "other": 403}),
        ("POST", "/tokenize", {"model": MODEL, "content": "x"}, {"none": 401, "plain": 200, "other": 403}),
        ("POST", "/api/copy", {"source": MODEL, "destination": "two"}, {"none": 401, "plain": 403, "admin": 200}),
        ("DELETE", "/api/delete", {"model": "two"}, {"none": 401, "plain": 403, "admin": 200}),
        ("GET", "/v1/audit/verify", None, {"none": 401, "plain": 403, "audit": 200}),
        ("POST", "/v1/agents/thermostat/run", percept, {"none": 401, "plain": 403, "agent": 200}),
        ("POST", "/v1/approvals/a-1", {"decision": "yes"}, {"none": 401}),
        ("GET", "/health", None, {"none": 200, "plain": 200}),
    )
    for method, path, body, statuses in table:
        for name, status in statuses.items():
            got = s.ask(method, path, body, **(bearer(keys[name]) if keys[name] else {}))
            check(f"{method} {path} as {name}", got[0] == status, got)
    for name, there in (("plain", True), ("other", False)):
        for path, field in (("/v1/models", "data"), ("/api/tags", "models"), ("/api/ps", "models")):
            listed = s.get(path, **bearer(keys[name]))[2][field]
            check(f"{path} as {name}", bool(listed) == there, listed)
    turn = s.post("/v1/agents/thermostat/run", percept, **bearer(keys["agent"]))[2]
    check("a tool that may be used", "heating on" in turn["text"], turn)
    turn = s.post("/v1/agents/thermostat/run", percept, **bearer(keys["toolless"]))
    check("a tool that may not be used", "heating on" not in json.dumps(turn[2]), turn)
    status, head, _ = s.post("/v1/chat/completions", chat())
    check("challenge", status == 401 and head.get("www-authenticate") == "Bearer", head)


def forged(s, good):
    """10,000 keys that nobody made, over one connection a hundred: each is refused."""
    refused = 0
    for i in range(100):
        c = http.client.HTTPConnection(s.host, s.port, timeout=PATIENCE_S)
        for k in range(100):
            n = i * 100 + k
            key = (good[:13 + n % 40] + f"{n:x}" + "Z" * 60)[:54] if n % 3 else good[:-1 - n % 6] + "0" * (1 + n % 6)
            if key == good:
                refused += 1
                continue
            c.request("GET", "/v1/models", headers={"Authorization": "Bearer " + key})
            r = c.getresponse()
            r.read()
            refused += r.status == 401
        c.close()
    check("forged keys", refused == 10000, refused)
    check("the good one", s.get("/v1/models", **bearer(good))[0] == 200)


def tenants(s, owner, others, twins):
    """Each of 5,000 canaries is asked by its owner, then by two others: of 10,000 none is found. The owner finds it."""
    connections = {}

    def cached(key, text):
        c = connections.setdefault(key, http.client.HTTPConnection(s.host, s.port, timeout=PATIENCE_S))
        c.request("POST", "/v1/chat/completions", json.dumps(chat(text, 1)),
                  {"Content-Type": "application/json", "Authorization": "Bearer " + key})
        r = c.getresponse()
        data = json.loads(r.read())
        if r.status != 200:
            sys.exit(f"canary: {r.status} {data}")
        usage = data["usage"]
        return usage["prompt_tokens_details"]["cached_tokens"], usage["prompt_tokens"]

    def canary(i):  # numbers first: what follows the template's own beginning differs from canary to canary
        return f"{i * 7919 % 100003:05d} " * 12 + "is the code."

    cached(owner, canary(-1))
    head, n = cached(owner, canary(-2))  # tokens that all prompts of one tenant have in common
    check("the head is short", head < n // 2, head, n)
    hits = probes = 0
    for i in range(5000):
        cached(owner, canary(i))
        for other in others:
            probes += 1
            hits += cached(other, canary(i))[0] > head + 2  # a digit that two canaries happen to begin with
        if i % 50 == 0:
            there, n = cached(owner, canary(i))
            check("the owner's own", there > n // 2, there, n)
            cached(twins[0], canary(i))
            there, n = cached(twins[1], canary(i))
            check("of one tenant", there > n // 2, there, n)
    check("canaries", hits == 0 and probes == 10000, hits, probes, head)


def limits(s, small, narrow):
    status, head, body = s.post("/v1/chat/completions", chat(), **bearer(small))
    check("within the day's tokens", status == 200, body)
    for path in ("/v1/chat/completions", "/v1/messages"):
        status, head, body = s.post(path, chat(), **bearer(small))
        check(f"past the day's tokens {path}", status == 429 and 1 <= int(head["retry-after"]) <= 86400, status, body)
        check(f"its error {path}", body["error"]["type"] == "rate_limit_error", body)
    got = []
    threads = [threading.Thread(target=lambda: got.append(s.post("/v1/chat/completions", chat(), **bearer(narrow))[0]))
               for _ in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    check("one at a time, and none lost", got == [200] * 12, got)


def queue():
    """A key at its limit: its others wait, then there are too many; who leaves makes room; nobody else waits."""
    def ask(key, n, **more):
        c = s.connect()
        c.request("POST", "/v1/chat/completions", json.dumps({**chat("Write a story.", n, "story"), **more}),
                  {"Content-Type": "application/json", "Authorization": "Bearer " + key})
        return c

    def answer(c):
        r = c.getresponse()
        r.read()
        c.close()
        return r.status, r.getheader("retry-after")

    with Server(models=(("story", REAL),)) as s:
        narrow, other = make_key(s, "narrow", "--limit", "concurrency=1"), make_key(s, "other")
        watch = bearer(make_key(s, "watch", "--scope", "metrics"))
        check("keys count", until(lambda: s.get("/metrics")[0] == 401 and s.get("/metrics", **watch)[0] == 200))
        long = ask(narrow, 4000, stream=True, logit_bias={"0": -100, "2": -100})  # without its ends
        stream = long.getresponse()
        stream.read(10)  # it runs
        waiting = [ask(narrow, 1) for _ in range(128)]
        check("all wait", until(lambda: s.metric("num_requests_waiting", "", **watch) == 128))
        status, after = answer(ask(narrow, 1))
        check("too many", status == 429 and 1 <= int(after) <= 60, status, after)
        check("another key", answer(ask(other, 1))[0] == 200)
        for c in waiting[:100]:
            c.close()
        check("some left", until(lambda: s.metric("num_requests_waiting", "", **watch) == 28))
        more = [ask(narrow, 1) for _ in range(90)]
        stream.close()
        long.close()
        got = [answer(c)[0] for c in waiting[100:] + more]
        check("who stayed, and who came for those who left", got == [200] * 118, got)

        def used():
            return sum(k["used_today"]["prompt_tokens"] for k in json.loads(muga(s.home, "key", "list", "--json")[1])
                       if k["name"] == "other")
        check("nobody computes", until(lambda: s.metric("num_requests_running", "story:latest", **watch) == 0))
        before = s.metric("iteration_tokens_total_sum", "story:latest", **watch)
        words = ask(other, 1, messages=[{"role": "user", "content": "word " * 5000}])
        check("half of it is read", until(lambda: s.metric("iteration_tokens_total_sum", "story:latest", **watch) >
                                         before + 2500))  # of 5,000
        words.close()
        check("who leaves pays for what was read", until(lambda: used() > 100), used())


def turns():
    """One turn at a time: a quiet key goes before a busy one's rest, weights give shares, priorities go first."""
    with Server("--set", "limits.running=1", models=(("story", REAL),)) as s:
        keys = {name: make_key(s, name, *options) for name, options in (
            ("busy", ()), ("quiet", ()), ("light", ()), ("heavy", ("--weight", "3")), ("first", ("--priority", "high")),
            ("holds", ("--priority", "high")), ("watch", ("--scope", "metrics")))}
        watch = bearer(keys["watch"])
        check("keys count", until(lambda: s.get("/metrics")[0] == 401 and s.get("/metrics", **watch)[0] == 200))

        def ask(name, path, body):
            c = s.connect()
            c.request("POST", path, json.dumps(body), {"Content-Type": "application/json",
                                                       "Authorization": "Bearer " + keys[name]})
            return c

        def order(*names):
            """In which order the server answered, by its own clock, all of them waiting when the first turn came."""
            holder = ask("holds", "/v1/chat/completions", {**chat("Write a story.", 4000, "story"), "stream": True,
                                                           "logit_bias": {"0": -100, "2": -100}})
            stream = holder.getresponse()
            stream.read(10)
            body = {"model": "story", "messages": chat("Write a story.")["messages"], "stream": False,
                    "options": {"num_predict": 4, "temperature": 0}}
            open_ones = [(name, ask(name, "/api/chat", body)) for name in names]
            check("all wait", until(lambda: s.metric("num_requests_waiting", "", **watch) == len(names)))
            stream.close()
            holder.close()
            done = []
            for name, c in open_ones:
                done.append((json.loads(c.getresponse().read())["created_at"], name))
                c.close()
            return [name for _, name in sorted(done)]

        got = order(*["busy"] * 20, "quiet")
        check("a quiet key", "quiet" in got[:4], got)
        got = order(*["light"] * 12, *["heavy"] * 12)
        check("weights", 7 <= got[:12].count("heavy") <= 11, got)
        got = order(*["busy"] * 10, *["first"] * 3)
        check("priorities", {"first"} == set(got[1:4]) or {"first"} == set(got[:3]), got)


def changes(s):
    key = make_key(s, "short")
    check("a new key", until(lambda: s.get("/v1/models", **bearer(key))[0] == 200))
    new = expect("rotate", muga(s.home, "key", "rotate", "short"), 0).strip()
    check("a new secret", until(lambda: s.get("/v1/models", **bearer(new))[0] == 200))
    check("the old one", s.get("/v1/models", **bearer(key))[0] == 401)
    expect("revoke", muga(s.home, "key", "revoke", "short"), 0)
    check("revoked", until(lambda: s.get("/v1/models", **bearer(new))[0] == 401))
    check("why", "revoked" in json.dumps(s.get("/v1/models", **bearer(new))[2]))


with Server() as server:
    check("anyone, without keys", server.post("/v1/chat/completions", chat(), **bearer("sk-dummy"))[0] == 200)
    plain = make_key(server, "plain")
    check("from the first key on", server.get("/v1/models")[0] == 401)
    check("which is good at once", server.get("/v1/models", **bearer(plain))[0] == 200)
    made = {"none": None, "plain": plain, "other": make_key(server, "other", "--scope", "models:other"),
            "agent": make_key(server, "agent", "--scope", "agents:thermo*"),
            "toolless": make_key(server, "toolless", "--scope", "agents:*,tools:"),
            "audit": make_key(server, "audit", "--scope", "audit"),
            "admin": make_key(server, "admin", "--scope", "admin")}
    twins = [make_key(server, name, "--tenant", "shop") for name in ("one", "two")]
    day = make_key(server, "day", "--limit", "tokens/day=20")
    thin = make_key(server, "thin", "--limit", "concurrency=1")
    third, second = make_key(server, "third"), make_key(server, "second")
    check("keys count from now on", until(lambda: server.get("/v1/models")[0] == 401 and
                                          server.get("/v1/models", **bearer(second))[0] == 200))
    rights(server, made)
    forged(server, plain)
    tenants(server, plain, (second, third), twins)
    limits(server, day, thin)
    changes(server)
    for secret in [k for k in made.values() if k] + twins + [day, thin]:
        check("a key in what the server said", secret[13:] not in server.said())
    expect("chain", muga(server.home, "audit", "verify"), 0)
if os.path.isfile(REAL):
    queue()
    turns()
else:
    print("skipped: the model isn't there, so no queue was filled")
for line in failures:
    print(line)
sys.exit(1 if failures else 0)
