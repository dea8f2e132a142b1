"""`muga serve` for OpenAI's and Anthropic's clients, over sockets, with the small model. If it fails, such a client
gets an answer of another shape, a 200 where its constraint wasn't applied, an error that names nothing, a stream that
doesn't make the whole answer or ends as if it were whole, or a value out of range is taken or brings the server down.

The fields to be misused are read from the tables in src/serve/, so none is forgotten."""

# ctest: unthreaded (what it asks of the server is tested there by others)
import json
import math
import os
import re
import struct
import sys
import base64

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
from served import check, run_tests  # noqa: E402

ROOT = os.path.join(os.path.dirname(__file__), "..", "..")
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "order",
            "description": "Look up",
            "parameters": {
                "type": "object",
                "properties": {"id": {"type": "integer", "minimum": 1, "maximum": 99}},
                "required": ["id"],
                "additionalProperties": False,
            },
        },
    },
    {"type": "function", "function": {"name": "ping", "parameters": {"type": "object", "properties": {}}}},
]
SCHEMA = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}},
    "required": ["ok"],
    "additionalProperties": False,
}
ASK = [{"role": "user", "content": "Say hello."}]


def chat(s, **more):
    body = {"model": "tiny", "messages": ASK, "max_tokens": 8, "temperature": 0}
    body.update(more)
    return s.post("/v1/chat/completions", body)


def choice(r):
    return r.json["choices"][0]


# ---- shapes ----


def test_shapes(s):
    r = chat(s)
    check(r.status == 200, "a chat is answered", r)
    check(
        set(r.json) >= {"id", "object", "created", "model", "choices", "usage", "system_fingerprint"},
        "its members",
        r,
    )
    c = choice(r)
    check(set(c) == {"index", "message", "logprobs", "finish_reason"}, "those of a choice", c)
    check(c["message"]["role"] == "assistant" and c["message"]["refusal"] is None, "those of a message", c)
    u = r.json["usage"]
    check(
        u["total_tokens"] == u["prompt_tokens"] + u["completion_tokens"] and u["completion_tokens"] <= 8, "usage", u
    )
    check(
        "cached_tokens" in u["prompt_tokens_details"] and "reasoning_tokens" in u["completion_tokens_details"],
        "details of usage",
        u,
    )
    r = chat(s, n=3, temperature=1, seed=5)
    check([c["index"] for c in r.json["choices"]] == [0, 1, 2], "n choices", r)
    check(chat(s, n=3, temperature=1, seed=5).json["choices"] == r.json["choices"], "a seed repeats them", r)
    check(len({c["message"]["content"] for c in r.json["choices"]}) > 1, "they differ", r)


def test_stream(s):
    for more in (
        {},
        {"n": 2, "temperature": 1, "seed": 3},
        {"tools": TOOLS, "tool_choice": "required", "max_tokens": 120},
    ):
        whole = chat(s, **more).json["choices"]
        r = chat(s, stream=True, stream_options={"include_usage": True}, **more)
        check(r.status == 200 and r.events[-1] == "[DONE]", "a stream ends with [DONE]", r)
        chunks = [json.loads(e) for e in r.events[:-1]]
        check(
            len({c["id"] for c in chunks}) == 1 and all(c["object"] == "chat.completion.chunk" for c in chunks),
            "ids",
            r,
        )
        check(
            all(c["usage"] is None for c in chunks[:-1]) and chunks[-1]["choices"] == [] and chunks[-1]["usage"],
            "usage is the last",
            chunks[-1],
        )
        for i, w in enumerate(whole):
            mine = [c["choices"][0] for c in chunks[:-1] if c["choices"][0]["index"] == i]
            text = "".join(c["delta"].get("content") or "" for c in mine)
            check(text == (w["message"]["content"] or ""), "a stream makes the whole", (text, w))
            check(
                [c["finish_reason"] for c in mine if c["finish_reason"]] == [w["finish_reason"]],
                "one finish",
                mine[-1],
            )
            calls = {}
            for d in [d for c in mine for d in c["delta"].get("tool_calls", [])]:
                e = calls.setdefault(d["index"], {"name": "", "arguments": ""})
                e["name"] += d["function"].get("name", "")
                e["arguments"] += d["function"].get("arguments", "")
            want = [t["function"] for t in w["message"].get("tool_calls", [])]
            check(
                [(c["name"], json.loads(c["arguments"])) for c in calls.values()]
                == [(t["name"], json.loads(t["arguments"])) for t in want],
                "calls are streamed whole",
                (calls, want),
            )
    r = chat(s, stream=True)
    check(not any("usage" in json.loads(e) for e in r.events[:-1]), "no usage unasked", r)


def allows(mode, *names):
    """The choice of some of the tools, as chat completions have it."""
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}


def test_tools(s):
    for choice_of, names in (
        ("required", {"order", "ping"}),
        ({"type": "function", "function": {"name": "ping"}}, {"ping"}),
        (allows("required", "ping"), {"ping"}),
        (allows("required", "order"), {"order"}),
        (allows("required", "ping", "order"), {"order", "ping"}),
    ):
        c = choice(chat(s, tools=TOOLS, tool_choice=choice_of, max_tokens=120))
        calls = c["message"]["tool_calls"]
        check(
            c["finish_reason"] == "tool_calls" and {t["function"]["name"] for t in calls} <= names,
            "the choice holds",
            c,
        )
        for t in calls:
            v = json.loads(t["function"]["arguments"])
            check(t["type"] == "function" and t["id"], "a call's members", t)
            check(t["function"]["name"] == "ping" or (set(v) == {"id"} and 1 <= v["id"] <= 99), "its arguments", t)
    c = choice(chat(s, tools=TOOLS, tool_choice="required", parallel_tool_calls=False, max_tokens=120))
    check(len(c["message"]["tool_calls"]) == 1, "one call", c)
    c = choice(chat(s, tools=TOOLS, tool_choice="none"))
    check("tool_calls" not in c["message"], "none", c)
    alone, allowed = (chat(s, tools=t, tool_choice=how, max_tokens=40).json for t, how in (
        (TOOLS[1:], "auto"), (TOOLS, allows("auto", TOOLS[1]["function"]["name"]))))
    check(alone["usage"]["prompt_tokens"] == allowed["usage"]["prompt_tokens"] and
          alone["choices"][0]["message"]["content"] == allowed["choices"][0]["message"]["content"],
          "the others aren't there", (alone, allowed))
    r = chat(
        s,
        messages=ASK
        + [
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "call_1", "type": "function", "function": {"name": "order", "arguments": '{"id": 3}'}}
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "on its way"}]},
        ],
        tools=TOOLS,
    )
    check(r.status == 200, "a result goes back", r)


def test_constraints(s):
    for more in (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": SCHEMA}}},
        {"response_format": {"type": "json_object", "schema": SCHEMA}},
        {"json_schema": SCHEMA},
        {"guided_json": SCHEMA},
    ):
        for stream in (False, True):
            r = chat(s, max_tokens=64, temperature=1.5, seed=9, stream=stream, **more)
            text = r.text_of_stream() if stream else choice(r)["message"]["content"]
            check(r.status == 200 and set(json.loads(text)) == {"ok"}, "a schema holds", (more, text))
    r = chat(s, response_format={"type": "json_object"}, max_tokens=64)
    check(isinstance(json.loads(choice(r)["message"]["content"]), dict), "json_object is an object", r)
    r = chat(s, guided_regex="[ab]{3}")
    check(re.fullmatch("[ab]{3}", choice(r)["message"]["content"]), "a pattern holds", r)
    r = chat(s, grammar='root ::= "yes" | "no"')
    check(choice(r)["message"]["content"] in ("yes", "no"), "a grammar holds", r)
    r = s.post("/v1/completions", {"model": "tiny", "prompt": "a", "max_tokens": 32, "json_schema": SCHEMA})
    check(set(json.loads(choice(r)["text"])) == {"ok"}, "in completions, too", r)


def test_logprobs(s):
    r = choice(chat(s, logprobs=True, top_logprobs=3))
    tokens = r["logprobs"]["content"]
    check(len(tokens) > 0 and all(len(t["top_logprobs"]) == 3 and t["logprob"] <= 0 for t in tokens), "logprobs", r)
    check(
        b"".join(bytes(t["bytes"]) for t in tokens).decode("utf-8", "replace") == r["message"]["content"], "bytes", r
    )
    check(
        all(sum(math.exp(x["logprob"]) for x in t["top_logprobs"]) < 1.001 for t in tokens),
        "they are probabilities",
        r,
    )
    streamed = chat(s, logprobs=True, top_logprobs=3, stream=True)
    mine = [
        t for e in streamed.events[:-1] for t in (json.loads(e)["choices"][0]["logprobs"] or {}).get("content", [])
    ]
    check(mine == tokens, "the same in a stream", (mine, tokens))
    r = choice(
        s.post(
            "/v1/completions", {"model": "tiny", "prompt": "1 2 3", "max_tokens": 4, "logprobs": 2, "temperature": 0}
        )
    )
    check(
        len(r["logprobs"]["tokens"])
        == len(r["logprobs"]["token_logprobs"])
        == len(r["logprobs"]["top_logprobs"])
        == len(r["logprobs"]["text_offset"])
        > 0,
        "the older form",
        r,
    )


def test_stop_and_bias(s):
    text = choice(chat(s, max_tokens=40))["message"]["content"]
    word = text[len(text) // 2 : len(text) // 2 + 3]
    for stop in (word, ["never this", word]):
        c = choice(chat(s, max_tokens=40, stop=stop))
        check(
            c["message"]["content"] == text[: text.index(word)] and c["finish_reason"] == "stop",
            "stop",
            (c, text, word),
        )
    first = choice(chat(s, logprobs=True, top_logprobs=2, max_tokens=1))
    r = chat(s, logit_bias={str(i): -100 for i in range(200)}, max_tokens=1)
    check(r.status == 200, "biases are taken", (r, first))
    check(chat(s, logit_bias={"999999": 1}).status == 400, "a token there isn't is refused")


# ---- other routes ----


def test_completions(s):
    r = s.post("/v1/completions", {"model": "tiny", "prompt": ["One", "Two"], "n": 2, "max_tokens": 3, "echo": True})
    check([c["index"] for c in r.json["choices"]] == [0, 1, 2, 3], "prompts and choices are numbered", r)
    check(r.json["choices"][2]["text"].startswith("Two"), "echo", r)
    r = s.post("/v1/completions", {"model": "tiny", "prompt": [[1, 2], [3]], "max_tokens": 3})
    check(r.status == 200 and len(r.json["choices"]) == 2, "ids", r)
    whole = choice(s.post("/v1/completions", {"model": "tiny", "prompt": "Once", "temperature": 0}))["text"]
    r = s.post("/v1/completions", {"model": "tiny", "prompt": "Once", "temperature": 0, "stream": True})
    check(
        "".join(json.loads(e)["choices"][0]["text"] for e in r.events[:-1]) == whole, "its stream makes the whole", r
    )
    for bad in ("", []):
        r = s.post("/v1/completions", {"model": "tiny", "prompt": [bad, bad] if bad == [] else {"a": bad}})
        check(r.status == 400 and r.json["error"]["param"] == "prompt", "prompts that are none", r)


def test_models(s):
    r = s.get("/v1/models")
    check(r.json["object"] == "list" and "tiny" in [m["id"] for m in r.json["data"]], "the model is listed", r)
    check(all(set(m) == {"id", "object", "created", "owned_by"} for m in r.json["data"]), "its members", r)
    check(s.get("/v1/models/tiny").json["id"] == "tiny" and s.get("/v1/models/tiny:latest").status == 200, "by name")
    r = s.get("/v1/models/nothing")
    check(r.status == 404 and set(r.json["error"]) == {"message", "type", "param", "code"}, "one there isn't", r)
    r = s.get("/v1/models", {"anthropic-version": "2023-06-01"})
    check(r.json["data"][0]["type"] == "model" and r.json["has_more"] is False, "in Anthropic's form", r)
    r = chat(s, model="nothing")
    check(r.status == 404 and r.json["error"]["code"] == "model_not_found", "a chat with one there isn't", r)


def test_embeddings(s):
    def ask(**more):
        return s.post("/v1/embeddings", dict({"model": "tiny", "input": ["a cat", "a dog", "a cat"]}, **more))

    r = ask()
    v = [d["embedding"] for d in r.json["data"]]
    check(
        [d["index"] for d in r.json["data"]] == [0, 1, 2] and v[0] == v[2] and v[0] != v[1], "in order", r.text[:200]
    )
    check(abs(sum(x * x for x in v[0]) - 1) < 1e-5, "of length 1", v[0][:4])
    b = base64.b64decode(ask(encoding_format="base64").json["data"][1]["embedding"])
    check(list(struct.unpack("<%df" % (len(b) // 4), b)) == v[1], "base64 is the same", v[1][:4])
    short = ask(dimensions=4).json["data"][0]["embedding"]
    check(len(short) == 4 and abs(sum(x * x for x in short) - 1) < 1e-5, "fewer dimensions", short)
    check(ask(dimensions=len(v[0]) + 1).status == 400, "more dimensions")
    check(ask(input=[1, 2, 3]).status == 200 and len(ask(input=[[1], [2]]).json["data"]) == 2, "ids")
    for bad in ([], "", ["a", ""], ["a", 1], [1, "a"], [[]], {"a": 1}, 7, [-1], [1 << 40], [1.5], [999999999]):
        r = ask(input=bad)
        check(r.status == 400 and r.json["error"]["param"] == "input", "input that is none", (bad, r))


def test_responses(s):
    def ask(**more):
        return s.post(
            "/v1/responses",
            dict({"model": "tiny", "input": "Say hello.", "max_output_tokens": 16, "temperature": 0}, **more),
        )

    r = ask()
    check(r.status == 200 and r.json["object"] == "response" and r.json["store"] is False, "a response", r)
    check(r.json["status"] in ("completed", "incomplete") and r.json["output"][0]["type"] == "message", "its item", r)
    e = ask(stream=True)
    events = [json.loads(x) for x in e.events]
    check([x["sequence_number"] for x in events] == list(range(len(events))), "events are numbered", e)
    check([x["type"] for x in events[:2]] == ["response.created", "response.in_progress"], "how it begins", e)
    last = events[-1]["response"]
    check(
        last["output"][0]["content"] == r.json["output"][0]["content"], "a stream's response is the same", (last, r)
    )
    check(
        "".join(x["delta"] for x in events if x["type"] == "response.output_text.delta")
        == last["output"][0]["content"][0]["text"],
        "its deltas make the text",
        e,
    )
    tool = dict(TOOLS[0]["function"], type="function")
    r = ask(tools=[tool], tool_choice="required", max_output_tokens=64)
    f = [o for o in r.json["output"] if o["type"] == "function_call"]
    check(f and 1 <= json.loads(f[0]["arguments"])["id"] <= 99, "a call", r)
    both = [dict(t["function"], type="function") for t in TOOLS]
    for name in (both[0]["name"], both[1]["name"]):
        of = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": name}]}
        r = ask(tools=both, tool_choice=of, max_output_tokens=120)
        calls = {o["name"] for o in r.json["output"] if o["type"] == "function_call"}
        check(calls == {name} and r.json["tool_choice"] == of and len(r.json["tools"]) == 2, "an allowed call", r)
    for of, at in (({"mode": "any"}, "mode"), ({"tools": []}, "tools"), ({"tools": [{"name": "a"}]}, "tools[0]")):
        of = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": both[0]["name"]}], **of}
        r = ask(tools=both, tool_choice=of)
        check(r.status == 400 and r.json["error"]["param"] == "tool_choice." + at, "allowed wrongly", r)
    r = ask(
        tools=[tool],
        input=[
            {"role": "user", "content": "Where is it?"},
            f[0],
            {"type": "function_call_output", "call_id": f[0]["call_id"], "output": "on its way"},
        ],
    )
    check(r.status == 200, "its result", r)
    r = ask(text={"format": {"type": "json_schema", "name": "x", "schema": SCHEMA}}, max_output_tokens=64)
    check(set(json.loads(r.json["output"][0]["content"][0]["text"])) == {"ok"}, "a schema", r)
    for more, param in (
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"background": True}, "background"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
        ({"input": [{"type": "message", "role": "wizard", "content": "x"}]}, "input[0].role"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]},
            "input[0].content[0]",
        ),
        (
            {"input": [{"type": "function_call", "call_id": "a", "name": "b", "arguments": "[1]"}]},
            "input[0].arguments",
        ),
        ({"n": 2}, "n"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
    ):
        r = ask(**more)
        check(r.status == 400 and r.json["error"]["param"] == param, "refused by name: " + param, r)


def test_anthropic(s):
    def ask(**more):
        return s.post(
            "/v1/messages", dict({"model": "tiny", "messages": ASK, "max_tokens": 12, "temperature": 0}, **more)
        )

    r = ask()
    check(r.status == 200 and r.json["type"] == "message" and r.json["content"][0]["type"] == "text", "a message", r)
    check(r.json["stop_reason"] in ("end_turn", "max_tokens"), "its end", r)
    e = ask(stream=True)
    events = [json.loads(x) for x in e.events]
    kinds = [x["type"] for x in events]
    check(
        kinds[:3] == ["message_start", "ping", "content_block_start"]
        and kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"],
        "events",
        kinds,
    )
    check(e.names == kinds, "events have names", e.names)
    check(
        "".join(x["delta"]["text"] for x in events if x["type"] == "content_block_delta")
        == r.json["content"][0]["text"],
        "a stream makes the whole",
        e,
    )
    text = r.json["content"][0]["text"]
    word = text[4:7]
    r = ask(stop_sequences=["never this", word])
    check(r.json["stop_reason"] == "stop_sequence" and r.json["stop_sequence"] == word, "which stop sequence", r)
    tool = {"name": "order", "input_schema": TOOLS[0]["function"]["parameters"]}
    for kind in ({"type": "any"}, {"type": "tool", "name": "order"}):
        r = ask(tools=[tool], tool_choice=kind, max_tokens=64)
        u = r.json["content"][-1]
        check(
            r.json["stop_reason"] == "tool_use" and u["name"] == "order" and 1 <= u["input"]["id"] <= 99, "a call", r
        )
    r = ask(
        tools=[tool],
        messages=ASK
        + [
            {"role": "assistant", "content": [u]},
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": u["id"],
                        "content": [{"type": "text", "text": "on its way"}],
                    },
                    {"type": "text", "text": "And?"},
                ],
            },
        ],
    )
    check(r.status == 200, "its result", r)
    n = s.post("/v1/messages/count_tokens", {"model": "tiny", "messages": ASK, "system": "Be brief."})
    check(n.status == 200 and n.json["input_tokens"] > 2, "tokens are counted", n)
    for more in ({}, {"system": "Be brief."}, {"tools": [tool]}, {"tools": [tool], "system": "Be brief."}):
        n = s.post("/v1/messages/count_tokens", dict({"model": "tiny", "messages": ASK}, **more))
        u = ask(**more).json["usage"]
        check(n.json["input_tokens"] == u["input_tokens"] + u["cache_read_input_tokens"], "as they are sent", (n, u))
    r = ask(output_config={"format": {"type": "json_schema", "schema": SCHEMA}}, max_tokens=64)
    check(set(json.loads(r.json["content"][0]["text"])) == {"ok"}, "a schema", r)
    r = ask(messages=ASK + [{"role": "assistant", "content": "Hel"}])
    check(r.status == 200 and not r.json["content"][0]["text"].startswith("Hel"), "the answer goes on", r)
    for more in (
        {"messages": [{"role": "system", "content": "x"}]},
        {"temperature": 1.5},
        {"max_tokens": 0},
        {"tool_choice": {"type": "tool", "name": "no"}, "tools": [tool]},
        {"messages": []},
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]},
        {"thinking": {"type": "enabled", "budget_tokens": 12}},
        {"mcp_servers": [{}]},
        {"model": 3},
    ):
        r = ask(**more)
        check(
            r.status == 400
            and r.json["type"] == "error"
            and r.json["error"]["type"] == "invalid_request_error"
            and r.json["error"]["message"],
            "refused in Anthropic's form",
            (more, r),
        )


# ---- what is wrong ----


def test_errors_in_a_stream(s):
    never = {"type": "array", "items": {"type": "boolean"}, "uniqueItems": True, "minItems": 3, "maxItems": 3}
    named = {"type": "json_schema", "json_schema": {"name": "x", "schema": never}}
    r = chat(s, response_format=named, max_tokens=60)
    check(r.status == 400 and r.json["error"]["param"] == "response_format", "what no answer fits is no answer", r)
    r = chat(s, response_format=named, max_tokens=60, stream=True)
    last = json.loads(r.events[-1])
    check(r.status == 200 and last["error"]["message"] and "[DONE]" not in r.events, "an error ends the stream", r)
    check(r.text_of_stream() == "", "and nothing goes out that wasn't valid", r)
    body = {
        "model": "tiny",
        "input": "a",
        "stream": True,
        "text": {"format": {**named["json_schema"], "type": named["type"]}},
    }
    r = s.post("/v1/responses", body)
    last = json.loads(r.events[-1])
    check(
        r.names[-1] == last["type"] == "error" and last["sequence_number"] == len(r.events) - 1, "responses, too", r
    )
    tool = {"name": "f", "input_schema": {"type": "object", "properties": {"a": never}, "required": ["a"]}}
    body = {"model": "tiny", "messages": ASK, "max_tokens": 60, "tools": [tool], "tool_choice": {"type": "any"}}
    r = s.post("/v1/messages", {**body, "stream": True})
    check(r.names[-1] == "error" and "message_stop" not in r.names, "Anthropic's, too", r)
    start = json.loads(s.post("/v1/messages", {**body, "stream": True}).events[0])
    check(start["message"]["usage"]["input_tokens"] > 5, "a stream begins with its prompt's tokens", start)


def tables(path):
    """[(name, kind, min, max)] of each field table in a source."""
    text = open(os.path.join(ROOT, "src", "serve", path)).read()
    if path != "openai.h" and "OPENAI_FIELDS(" in text:
        text = open(os.path.join(ROOT, "src", "serve", "openai.h")).read() + text
    return re.findall(
        r'\{\s*"(\w+)",\s*(FIELD_\w+),\s*(?:0|FIELD_AT\([^)]*\)),\s*([^,]+),\s*([^,]+),', text.replace("\\\n", " ")
    )


def number(text):
    return 2147483647.0 if text == "OPENAI_MAX_TOKENS" else 16.0 if "MAX_" in text else float(text)


def misuses(kind, low, high):
    everything = [[], {}, "x", True, 1, 1.5, -1, 1e308, -1e308, 9223372036854775807, -9223372036854775808]
    if kind == "FIELD_BOOL":
        return [v for v in everything if v is not True]
    if kind in ("FIELD_U32", "FIELD_I64"):
        return [v for v in everything if not isinstance(v, int) or isinstance(v, bool) or not low <= v <= high]
    if kind == "FIELD_F32":
        return [
            v for v in everything if not isinstance(v, (int, float)) or isinstance(v, bool) or not low <= v <= high
        ]
    if kind in ("FIELD_STRING", "FIELD_TEXT"):
        return [v for v in everything if v != "x"]
    if kind == "FIELD_ARRAY":
        return [v for v in everything if v != []]
    if kind == "FIELD_OBJECT":
        return [v for v in everything if v != {}]
    return [{"a": 1}] if kind == "FIELD_REFUSED" else []


BODIES = {
    "/v1/chat/completions": ("openai_chat.c", {"messages": ASK, "max_tokens": 1}),
    "/v1/completions": ("openai_completions.c", {"prompt": "a", "max_tokens": 1}),
    "/v1/responses": ("openai_responses.c", {"input": "a", "max_output_tokens": 16}),
    "/v1/embeddings": ("openai_models.c", {"input": "a"}),
    "/v1/messages": ("anthropic.c", {"messages": ASK, "max_tokens": 1}),
}
NESTED = {"include_usage", "enable_thinking", "thinking", "effort", "format", "verbosity"}


def test_misused_fields(s):
    n = 0
    for path, (source, body) in BODIES.items():
        own = tables(source)
        check(len(own) >= 5, "the table of " + source + " is read", own)
        for name, kind, low, high in own:
            if name in NESTED and path != "/v1/messages":
                continue
            for value in misuses(kind, number(low), number(high)):
                r = s.post(path, dict({"model": "tiny"}, **body, **{}) | {name: value})
                n += 1
                message = r.json["error"]["message"] if r.status == 400 else ""
                check(
                    r.status == 400 and name in message, "%s: %s = %.40r is refused by name" % (path, name, value), r
                )
    check(n > 900, "fields were misused", n)
    check(chat(s).status == 200, "the server goes on")


def test_refusals(s):
    bad = {"type": "nonsense"}
    cases = [
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [3]}, "messages[0]"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "messages[0].content[0]",
        ),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "assistant"}]}, "messages[0].content"),
        (
            {
                "messages": ASK
                + [
                    {
                        "role": "assistant",
                        "tool_calls": [{"id": "a", "type": "function", "function": {"name": "b", "arguments": "no"}}],
                    }
                ]
            },
            "messages[1].tool_calls[0].function.arguments",
        ),
        ({"tools": [{"type": "retrieval"}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tools": TOOLS + TOOLS}, "tools[2].function.name"),
        ({"tools": TOOLS, "tool_choice": "sometimes"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "no"}}}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "allowed_tools"}}, "tool_choice.allowed_tools"),
        ({"tools": TOOLS, "tool_choice": allows("none", "ping")}, "tool_choice.allowed_tools.mode"),
        ({"tools": TOOLS, "tool_choice": allows("auto")}, "tool_choice.allowed_tools.tools"),
        ({"tools": TOOLS, "tool_choice": allows("auto", "ping", "no")}, "tool_choice.allowed_tools.tools[1]"),
        ({"tool_choice": allows("auto", "ping")}, "tool_choice.allowed_tools.tools[0]"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "b", "schema": bad}}},
            "response_format",
        ),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "b", "schema": {"$ref": "#/$defs/no"}},
                }
            },
            "response_format",
        ),
        (
            {
                "tools": [
                    {
                        "type": "function",
                        "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": bad}}},
                    }
                ]
            },
            "tools",
        ),
        ({"guided_regex": "("}, "guided_regex"),
        ({"grammar": "root ::= ("}, "grammar"),
        ({"guided_regex": "a", "json_schema": SCHEMA}, "guided_regex"),
        ({"guided_choice": ["a"]}, "guided_choice"),
        ({"chat_template": "{% for x in range(9) %}{% endfor %}"}, "chat_template"),
        ({"format": "json"}, "format"),
        ({"stop": ""}, "stop"),
        ({"stop": [1]}, "stop"),
        ({"stop": ["x"] * 17}, "stop"),
        ({"stop": "x", "json_schema": SCHEMA}, "stop"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logit_bias": {"a": 1}}, "logit_bias"),
        ({"logit_bias": {"1": 101}}, "logit_bias"),
        ({"logit_bias": {"1": "x"}}, "logit_bias"),
        ({"max_tokens": 3, "max_completion_tokens": 4}, "max_completion_tokens"),
        ({"store": True}, "store"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"reasoning_effort": "enormous"}, "reasoning_effort"),
        ({"messages": [{"role": "user", "content": "word " * 20000}]}, "messages"),
    ]
    for more, param in cases:
        for stream in (False, True):
            r = chat(s, **dict({"stream": True} if stream and "stream_options" not in more else {}, **more))
            check(
                r.status == 400
                and set(r.json["error"]) == {"message", "type", "param", "code"}
                and r.json["error"]["param"] == param
                and r.json["error"]["type"] == "invalid_request_error",
                "refused by name: " + param,
                (str(more)[:200], r),
            )
    r = chat(s, messages=[{"role": "user", "content": "word " * 20000}])
    check(r.json["error"]["code"] == "context_length_exceeded", "a prompt that is too long", r)
    r = chat(
        s, some_unknown_field=1, user="me", metadata={"a": "b"}, store=False, service_tier="auto", temperature=None
    )
    check(
        r.status == 200 and r.headers.get("x-muga-ignored") == "some_unknown_field", "what isn't defined is named", r
    )


run_tests(globals())
