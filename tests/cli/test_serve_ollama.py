"""`muga serve` for Ollama's clients, by Ollama's page and its OpenAPI, with the small model. If it fails, such a client
misses a member of an answer or finds it of another type, an option or a field of the wrong type passes or is refused
without its name, a stream says something else than the whole answer, or a program that pulls the model it is about to
ask gives up on a model that is there."""

# ctest: unthreaded (what it asks of the server is tested there by others)
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
from served import check, run_tests  # noqa: E402

ASK = [{"role": "user", "content": "Say hello."}]
SCHEMA = {
    "type": "object",
    "properties": {"age": {"type": "integer"}, "on": {"enum": [1, 2]}},
    "required": ["age", "on"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}
OPTIONS = {"num_predict": 8, "temperature": 0}


def generate(s, options=None, **more):
    body = {"model": "tiny", "prompt": "Say hello.", "stream": False, "options": {**OPTIONS, **(options or {})}}
    return s.post("/api/generate", {**body, **more})


def chat(s, options=None, **more):
    body = {"model": "tiny", "messages": ASK, "stream": False, "options": {**OPTIONS, **(options or {})}}
    return s.post("/api/chat", {**body, **more})


def lines(s, path, body):
    """The objects of a stream."""
    connection = s.connect()
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        r = connection.getresponse()
        kind, text = r.getheader("content-type"), r.read().decode()
    finally:
        connection.close()
    check(kind.startswith("application/x-ndjson"), "a stream of lines", kind, text)
    return [json.loads(line) for line in text.split("\n") if line]


def refused(r, word, what):
    check(r.status == 400 and isinstance(r.json.get("error"), str) and word in r.json["error"], what, r)


def test_show(s):
    r = s.post("/api/show", {"model": "tiny"})
    check(r.status == 200, "shown", r)
    for key, kind in (("details", dict), ("model_info", dict), ("capabilities", list), ("tensors", list)):
        check(isinstance(r.json.get(key), kind), "a member of " + key, r)
    for key in ("license", "modelfile", "parameters", "template", "system", "modified_at"):
        check(isinstance(r.json.get(key), str), "a text: " + key, r)
    can = r.json["capabilities"]
    check({"completion", "tools"} <= set(can), "any model can be asked with tools", can)
    info = r.json["model_info"]
    check(info["tokenizer.ggml.tokens"] == [], "long arrays are empty", list(info))
    full = s.post("/api/show", {"model": "tiny", "verbose": True}).json["model_info"]
    n = len(full["tokenizer.ggml.tokens"])
    texts = [t for t in full["tokenizer.ggml.tokens"] if t is not None]
    check(n > 200 and all(isinstance(t, str) for t in texts), "all tokens", n)
    types = full.get("tokenizer.ggml.token_type", [])
    check(all(isinstance(t, int) for t in types) and len(types) in (0, n), "and their types", types[:5])
    for key, v in info.items():
        check(v is not None and not (isinstance(v, str) and v.startswith("[")), "a value in " + key, v)
    t = r.json["tensors"][0]
    check(set(t) == {"name", "type", "shape"} and t["shape"], "a tensor", t)
    check(all(isinstance(d, int) for d in t["shape"]), "its shape", t)


def test_options(s):
    whole = ("num_keep", "seed", "num_predict", "top_k", "repeat_last_n", "num_ctx", "num_batch", "num_gpu",
             "main_gpu", "num_thread", "draft_num_predict")
    reals = ("top_p", "min_p", "typical_p", "temperature", "repeat_penalty", "presence_penalty", "frequency_penalty")
    for name in whole + reals:
        for bad in ("x", True, [], {}) + ((1.5,) if name in whole else ()):
            refused(generate(s, {name: bad}), name, "an option: %s = %r" % (name, bad))
        for good in (1, 1.0, None):
            r = chat(s, {name: good})
            check(r.status == 200 and "x-muga-ignored" not in r.headers, "an option: %s = %r" % (name, good), r)
    for name in ("numa", "use_mmap", "use_mlock", "low_vram", "f16_kv"):
        for bad in ("x", 1, []):
            refused(chat(s, {name: bad}), name, "an option: %s = %r" % (name, bad))
        check(generate(s, {name: True}).status == 200, "an option: " + name)
    for name, off in (("mirostat", 0), ("mirostat", 0.0), ("tfs_z", 1), ("tfs_z", 1.0), ("penalize_newline", True)):
        check(generate(s, {name: off}).status == 200, "off: %s = %r" % (name, off))
    refused(generate(s, {"mirostat": 2}), "mirostat", "what isn't here is refused")
    r = generate(s, {"zz": 1}, yy=2)
    check(r.headers.get("x-muga-ignored") in ("yy, options.zz", "options.zz, yy"), "others are named", r)


def test_streams(s):
    """As a whole and in lines: the same text, calls and counts."""
    asked = {
        "/api/generate": [{}, {"format": SCHEMA}, {"format": "json"}, {"raw": True},
                          {"logprobs": True, "top_logprobs": 2}],
        "/api/chat": [{}, {"format": SCHEMA}, {"tools": [TOOL]}, {"tools": [TOOL], "tool_choice": "required"}],
    }
    for path, cases in asked.items():
        for more in cases:
            body = {"model": "tiny", "options": {"temperature": 0, "num_predict": 60}, **more}
            body.update({"prompt": "Say hello."} if path == "/api/generate" else {"messages": ASK})
            whole = s.post(path, {**body, "stream": False}).json
            parts = lines(s, path, body)
            check([p["done"] for p in parts] == [False] * (len(parts) - 1) + [True], "done is the last", parts)
            said = [p.get("message", p) for p in parts]
            one = whole.get("message", whole)
            key = "content" if "message" in whole else "response"
            check("".join(p[key] for p in said) == one[key], "the same text", more, parts, whole)
            calls = [c["function"] for p in said for c in p.get("tool_calls", [])]
            check(calls == [c["function"] for c in one.get("tool_calls", [])], "the same calls", parts, whole)
            for k in ("eval_count", "prompt_eval_count", "done_reason", "context"):
                check(parts[-1].get(k) == whole.get(k), "the same " + k, parts[-1], whole)
            check([t for p in parts for t in p.get("logprobs", [])] == whole.get("logprobs", []), "logprobs", parts)
            check(("context" in whole) == (path == "/api/generate" and "raw" not in more), "context", whole)


def test_stops(s):
    """A stop string would cut a value in its middle."""
    for form in ("json", SCHEMA):
        for stop in ("a", ["a", "b"]):
            refused(generate(s, {"stop": stop}, format=form), "options.stop", "a stop beside a form")
            refused(chat(s, {"stop": stop}, format=form), "options.stop", "a stop beside a form")
        for stop in ([], None):
            check(chat(s, {"stop": stop, "num_predict": 60}, format=form).status == 200, "none", form, stop)
    check(generate(s, {"stop": ["a"]}).status == 200 and generate(s, {"stop": "a"}, format="").status == 200, "alone")


def test_integers(s):
    """Clients read integers into ints; a point is none."""
    for seed in range(8):
        hot = {"temperature": 1.5, "seed": seed, "num_predict": 60}
        for text in (generate(s, hot, format=SCHEMA).json["response"],
                     json.dumps(chat(s, hot, tools=[TOOL], tool_choice="required").json["message"]["tool_calls"][0]
                                ["function"]["arguments"])):
            v = json.loads(text)
            check(type(v["age"]) is int and type(v["on"]) is int, "integers are ints", text)


def test_embed(s):
    def ask(**more):
        return s.post("/api/embed", {"model": "tiny", "input": "a", **more})

    r = ask(input="")
    check(r.status == 200 and r.json["embeddings"] == [], "nothing said, nothing embedded", r)
    check(ask(input=[]).json["embeddings"] == [] and len(ask(input=["a", "b"]).json["embeddings"]) == 2, "several", r)
    for bad in (0, -1, 100000, 1.5, "8"):
        refused(ask(dimensions=bad), "dimensions", "dimensions = %r" % bad)
    check(len(ask(dimensions=4).json["embeddings"][0]) == 4, "fewer")


def test_registry(s):
    """What is there needs no registry; whatever isn't, and whatever is to be given away, does."""
    check(s.post("/api/pull", {"model": "tiny", "stream": False}).json == {"status": "success"}, "pulled")
    parts = lines(s, "/api/pull", {"name": "tiny:latest", "insecure": True})
    check(parts[-1] == {"status": "success"} and all("status" in p for p in parts), "in lines", parts)
    for path, body, status in (("pull", {"model": "nowhere"}, 501), ("pull", {"model": "../tiny"}, 501),
                               ("push", {"model": "tiny"}, 501), ("pull", {}, 400), ("push", {}, 400),
                               ("pull", {"model": 3}, 400), ("pull", {"model": "tiny", "stream": "no"}, 400)):
        r = s.post("/api/" + path, body)
        check(r.status == status and isinstance(r.json["error"], str), "%s %r" % (path, body), r)


run_tests(globals())
