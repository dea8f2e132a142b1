"""`muga serve`: fields that change no answer, and the members of tools and of the answer's form. If it fails, a field
of the wrong type passes where the page says 400, an error names another place than the one where the client wrote it, a
right value is refused, or usage says that more of a prompt was cached than it has.

The fields are read from the tables in src/serve/, so none is forgotten."""

# ctest: unthreaded (what it asks of the server is tested there by others)
import glob
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
from served import check, run_tests  # noqa: E402

ROOT = os.path.join(os.path.dirname(__file__), "..", "..")
ASK = [{"role": "user", "content": "Say hello."}]
SCHEMA = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
CHAT = ("/v1/chat/completions", {"model": "tiny", "messages": ASK, "max_tokens": 40, "temperature": 0})
RESPONSES = ("/v1/responses", {"model": "tiny", "input": "Say hello.", "max_output_tokens": 40, "temperature": 0})
VALUES = {
    "true or false": [True],
    "an integer": [3, 3.0],
    "a number": [3, 0.5],
    "a string": ["x"],
    "an array": [[]],
    "an object": [{}],
    "texts": [{"a": "b"}],
}
EVERYTHING = [True, 3, 0.5, "x", [], {}, {"a": 1}]


def ask(s, to, **more):
    path, body = to
    return s.post(path, {**body, **more})


def wrong(may):
    """Values that a field of this type can't have."""
    fitting = VALUES.get(may, [])
    if may in ("a number", "an integer"):
        return [v for v in EVERYTHING if not isinstance(v, int) or isinstance(v, bool)][(may == "a number") * 2 :]
    if may in ("texts", "an object"):
        return [v for v in EVERYTHING if not isinstance(v, dict)] + [{"a": 1}] * (may == "texts")
    return [v for v in EVERYTHING if not any(type(v) is type(f) for f in fitting)]


def accepted():
    """(name, type) of each field that is read and left."""
    for path in glob.glob(os.path.join(ROOT, "src", "serve", "*.[ch]")):
        text = open(path).read().replace("\\\n", " ")
        yield from (
            (os.path.basename(path), name, may)
            for name, may in re.findall(r'"(\w+)",\s*FIELD_ACCEPTED,\s*0,\s*0,\s*\d+,\s*"([^"]*)"', text)
        )


WHERE = {
    "openai.h": [CHAT, ("/v1/completions", {"model": "tiny", "prompt": "a", "max_tokens": 1}), RESPONSES],
    "openai_models.c": [("/v1/embeddings", {"model": "tiny", "input": "a"})],
    "openai_responses.c": [RESPONSES],
    "anthropic.c": [("/v1/messages", {"model": "tiny", "messages": ASK, "max_tokens": 1})],
    "ollama_generate.c": [("/api/generate", {"model": "tiny", "prompt": "a", "stream": False})],
    "ollama_show.c": [("/api/show", {"model": "tiny"})],
}
OF_REASONING = {"summary", "generate_summary", "context", "mode"}


def message_of(r):
    error = r.json["error"]
    return error if isinstance(error, str) else error["message"]


def test_accepted(s):
    n = 0
    for source, name, may in accepted():
        places = WHERE.get(source, [])
        if source == "ollama_read.c":
            places = [("/api/generate", {"model": "tiny", "prompt": "a", "stream": False})]
        for path, body in places:
            nested = {"ollama_read.c": "options"}.get(source, "reasoning" if name in OF_REASONING else None)
            give = (lambda v: {nested: {name: v}}) if nested else (lambda v: {name: v})
            few = {"options": {"num_predict": 1}} if path == "/api/generate" and not nested else {}
            for v in wrong(may):
                r = s.post(path, {**body, **few, **give(v)})
                fine = r.status == 400 and name in message_of(r)
                check(fine, "%s: %s = %r is refused by name" % (path, name, v), r)
                n += 1
            for v in may.split("|") if "|" in may else VALUES[may]:
                body_of_right = {**body, **few, **give(v)}
                if nested == "options":
                    body_of_right["options"]["num_predict"] = 1
                r = s.post(path, body_of_right)
                check(r.status == 200 and "x-muga-ignored" not in r.headers, "%s: %s = %r" % (path, name, v), r)
                n += 1
    check(n > 150, "fields were given", n)


def test_texts(s):
    for bad in ({"a": 1}, {"a": None}, {str(i): "x" for i in range(17)}, {"a" * 65: "x"}, {"a": "x" * 513}):
        r = ask(s, CHAT, metadata=bad)
        check(r.status == 400 and r.json["error"]["param"] == "metadata", "metadata that OpenAI refuses", bad, r)
    r = ask(s, CHAT, metadata={"\u0bae" * 64: "\u0bae" * 512}, safety_identifier="\u0bae" * 64)
    check(r.status == 200, "as long as they may be, in characters", r)
    r = ask(s, CHAT, safety_identifier="x" * 65)
    check(r.status == 400 and r.json["error"]["param"] == "safety_identifier", "too long", r)


def test_repeated(s):
    said = {"user": "u", "safety_identifier": "s", "prompt_cache_key": "k", "max_tool_calls": 3, "metadata": {"a": "b"}}
    r = ask(s, RESPONSES, **said)
    check(r.status == 200 and {k: r.json.get(k) for k in said} == said, "a response repeats what was said", r)
    r = ask(s, RESPONSES)
    check(r.json["max_tool_calls"] is None and "user" not in r.json, "and nothing else", r)


def refused(s, to, param, **more):
    r = ask(s, to, **more)
    check(r.status == 400 and r.json["error"]["param"] == param, "refused by name: " + param, more, r)


def test_tools(s):
    def f(**more):
        return [{"type": "function", "function": {"name": "f", **more}}]

    for name in ("a b", "\u00e9", "", "x" * 129, 3, "a\n"):
        refused(s, CHAT, "tools[0].function.name", tools=f(name=name))
        refused(s, RESPONSES, "tools[0].name", tools=[{"type": "function", "name": name, "parameters": {}}])
    for member, bad in (("strict", "yes"), ("description", 3), ("parameters", "x"), ("parameters", [])):
        refused(s, CHAT, "tools[0].function." + member, tools=f(**{member: bad}))
        refused(s, RESPONSES, "tools[0]." + member, tools=[{"type": "function", "name": "f", member: bad}])
    for bad in (3, "x", None, []):
        refused(s, CHAT, "tools[0]", tools=[bad])
        refused(s, RESPONSES, "tools[0]", tools=[bad])
    refused(s, CHAT, "tools[0].function", tools=[{"type": "function", "function": "f"}])
    refused(s, CHAT, "tools[1].function.name", tools=f() + f())
    refused(s, RESPONSES, "tools[1].name", tools=[{"type": "function", "name": "f", "parameters": {}}] * 2)
    refused(s, RESPONSES, "tools", tools=[{"type": "function", "name": "f", "parameters": {"$ref": "#/no"}}])
    r = ask(s, CHAT, tools=f(strict=None, description=None, parameters=None, zz=1), tool_choice="none")
    check(r.status == 200 and r.headers.get("x-muga-ignored") == "tools[0].function.zz", "nulls and others", r)


def test_form(s):
    def f(**more):
        return {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, **more}}

    for member, bad in (("name", 3), ("strict", "yes"), ("description", [])):
        refused(s, CHAT, "response_format.json_schema." + member, response_format=f(**{member: bad}))
        form = {"type": "json_schema", "name": "n", "schema": SCHEMA, member: bad}
        refused(s, RESPONSES, "text.format." + member, text={"format": form})
    for member, fine in (("strict", None), ("strict", True), ("strict", False), ("description", "d")):
        check(ask(s, CHAT, response_format=f(**{member: fine})).status == 200, "a form's member", member, fine)
    bad = {"type": "json_schema", "name": "n", "schema": {"type": "nonsense"}}
    refused(s, RESPONSES, "text.format", text={"format": bad})
    refused(s, CHAT, "guided_json", guided_json={"type": "nonsense"})
    refused(s, RESPONSES, "include", include=["everything"])
    r = ask(s, RESPONSES, include=["reasoning.encrypted_content", "file_search_call.results"])
    check(r.status == 200, "what there is none of may be included", r)


def test_places(s):
    for role in ("system", "developer", "user", "tool"):
        messages = ASK + [{"role": role, "content": [], "tool_call_id": "c"}]
        refused(s, CHAT, "messages[1].content", messages=messages)
    refused(s, CHAT, "logit_bias", logit_bias={"999999": 1})
    refused(s, RESPONSES, "input", input="word " * 20000)
    refused(s, ("/v1/completions", {"model": "tiny"}), "prompt", prompt=[999999])
    refused(s, ("/v1/completions", {"model": "tiny"}), "prompt", prompt="word " * 20000)
    check(ask(s, CHAT, function_call="none").status == 200, "no function is to be called, and there is none")
    refused(s, CHAT, "function_call", function_call="auto")


def test_usage(s):
    """What is forced behind a prompt comes out of the cache, too, when the same is asked again."""
    tools = [{"type": "function", "function": {"name": "f", "parameters": {**SCHEMA, "additionalProperties": False}}}]
    for more in ({"tools": tools, "tool_choice": "required"}, {"response_format": {"type": "json_object"}}):
        for _ in range(3):
            u = ask(s, CHAT, **more).json["usage"]
            cached = u["prompt_tokens_details"]["cached_tokens"]
            check(0 <= cached <= u["prompt_tokens"], "cached tokens are tokens of the prompt", more, u)


run_tests(globals())
