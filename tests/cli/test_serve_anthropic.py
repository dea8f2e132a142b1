"""`muga serve` for Anthropic's clients, with the small model. If it fails, such a client is told of another place
than the one where its request is wrong, or that an empty message or a tool of the wrong form was fine; what it
streams doesn't make the message that it would get whole, or its blocks overlap; usage doesn't add up to what
count_tokens says."""

# ctest: unthreaded (what it asks of the server is tested there by others)
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
from served import check, run_tests  # noqa: E402

ASK = [{"role": "user", "content": "Say hello."}]
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
TOOL = {"name": "f", "description": "d", "input_schema": SCHEMA}
USE = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"n": 1}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "11"}


def ask(s, **more):
    return s.post("/v1/messages", {"model": "tiny", "messages": ASK, "max_tokens": 40, "temperature": 0, **more})


def talk(*blocks):
    """A user's question, what the assistant did, and these blocks of the user."""
    return ASK + [{"role": "assistant", "content": [USE]}, {"role": "user", "content": list(blocks)}]


def refused(s, place, **more):
    r = ask(s, **more)
    error = r.json.get("error", {}) if r.status == 400 else {}
    named = r.json.get("type") == "error" and error.get("type") == "invalid_request_error"
    check(named and error["message"].startswith(place), "refused by name: " + place, more, r)
    check(not named or r.json["request_id"] == r.headers["x-request-id"], "which request it was", r)


def blocks_of(events):
    """The blocks that a stream's events make, which must not overlap."""
    made, open_block = [], None
    for e in events:
        if e["type"] == "content_block_start":
            check(open_block is None and e["index"] == len(made), "a block begins", e)
            open_block = [e["content_block"]["type"], e["content_block"].get("name"), ""]
        elif e["type"] == "content_block_delta":
            d = e["delta"]
            open_block[2] += d.get("text") or d.get("partial_json") or d.get("thinking") or ""
        elif e["type"] == "content_block_stop":
            made.append(open_block)
            open_block = None
    check(open_block is None, "no block stays open", events)
    return [(kind, name, json.loads(text or "{}") if kind == "tool_use" else text) for kind, name, text in made]


def sum_of(usage):
    return sum(usage[k] for k in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"))


def test_streams(s):
    cases = [
        {},
        {"system": [{"type": "text", "text": "Be"}, {"type": "text", "text": "brief"}]},
        {"messages": ASK + [{"role": "assistant", "content": "Once"}]},
        {"tools": [TOOL], "tool_choice": {"type": "any"}},
        {"tools": [{**TOOL, "type": "custom", "strict": True}], "tool_choice": {"type": "tool", "name": "f"}},
        {"tools": [TOOL], "messages": talk(RESULT)},
        {"tools": [TOOL], "messages": talk({**RESULT, "is_error": True}, {"type": "text", "text": "and?"})},
        {"tools": [TOOL], "messages": talk({"type": "tool_result", "tool_use_id": "toolu_1"})},
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        {"stop_sequences": ["e"]},
    ]
    for more in cases:
        whole = ask(s, **more).json
        r = ask(s, stream=True, **more)
        events = [json.loads(e) for e in r.events]
        check([e["type"] for e in events] == r.names, "events have their names", r)
        check(r.names[0] == "message_start" and r.names[-2:] == ["message_delta", "message_stop"], "their order", r)
        mine = [(b["type"], b.get("name"), b.get("text", b.get("input"))) for b in whole["content"]]
        check(blocks_of(events[1:-2]) == mine, "a stream makes the whole", more, r, whole)
        end = events[-2]
        check(end["delta"]["stop_reason"] == whole["stop_reason"], "why it ends", end, whole)
        check(end["usage"]["output_tokens"] == whole["usage"]["output_tokens"], "what was written", end, whole)
        check(sum_of(events[0]["message"]["usage"]) == sum_of(whole["usage"]), "what was read", events[0], whole)
        body = {"model": "tiny", "messages": ASK, **{k: v for k, v in more.items() if k in ("system", "tools")}}
        if "messages" not in more and "tool_choice" not in more:
            n = s.post("/v1/messages/count_tokens", body).json["input_tokens"]
            check(n == sum_of(whole["usage"]), "count_tokens says so before", n, whole)


def test_empty(s):
    for content in ("", [], [{"type": "text", "text": ""}]):
        refused(s, "messages[0].content", messages=[{"role": "user", "content": content}])
        refused(s, "messages[1].content", messages=ASK + [{"role": "assistant", "content": content}] + ASK)
        r = ask(s, messages=ASK + [{"role": "assistant", "content": content}])
        check(r.status == 200, "but for the assistant's last", content, r)
    kept = [{"type": "redacted_thinking", "data": "x"}]
    check(ask(s, messages=ASK + [{"role": "assistant", "content": kept}] + ASK).status == 200, "thinking is something")


def test_tools(s):
    for name in ("a b", "", "x" * 129, 3, None):
        refused(s, "tools[0].name", tools=[{**TOOL, "name": name}])
    for member, bad in (("description", 3), ("input_schema", "x"), ("input_schema", None), ("strict", "yes"),
                        ("type", "web_search_20250305"), ("type", 3), ("cache_control", "x"), ("defer_loading", True)):
        refused(s, "tools[0]." + member, tools=[{**TOOL, member: bad}])
    refused(s, "tools[0]", tools=["x"])
    refused(s, "tools[1].name", tools=[TOOL, TOOL])
    r = ask(s, tools=[{**TOOL, "description": None, "zz": 1}], tool_choice={"type": "none"})
    check(r.status == 200 and r.headers.get("x-muga-ignored") == "tools[0].zz", "others are named", r)


run_tests(globals())
