"""Faults that servers of models have had, sent to ours: every field of every route with what it can't be, constraints
and bodies that explode, names that lead elsewhere, secrets. If it fails, one request ends the server, hangs it, gets a
5xx or a file it shouldn't see, changes what a healthy client beside it gets, or leaves a secret in the log."""
# ctest: slow unthreaded (some 10,000 requests; the threads are of the clients)
import json
import os
import sys
import tempfile

sys.path.insert(0, os.path.join(os.getcwd(), "tests/support"))
from hostile import CANARY, NUMBERS, VALUES, Beside, Client, check, failures, field_names, places, with_text
from server import MODEL, Server

from program import TINY, muga

ASK = [{"role": "user", "content": "Say hello."}]
CALL = {"id": "call_1", "type": "function", "function": {"name": "order", "arguments": '{"id": 3}'}}
PARAMETERS = {"type": "object", "properties": {"id": {"type": "integer", "minimum": 1, "maximum": 9}},
              "required": ["id"], "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "order", "description": "Look up", "parameters": PARAMETERS}}
TALK = ASK + [{"role": "assistant", "content": None, "tool_calls": [CALL]},
              {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "on its way"}]}]
OLLAMA_TALK = ASK + [{"role": "assistant", "content": "", "thinking": "so",
                      "tool_calls": [{"function": {"name": "order", "arguments": {"id": 3}}}]},
                     {"role": "tool", "tool_name": "order", "content": "on its way"}]
OPTIONS = {"num_predict": 1, "temperature": 0, "seed": 1, "stop": ["@"], "num_ctx": 128}
PERCEPT = {"room": "study", "temperature": 15, "heating": 0}

# route: (method, files with its fields, a body whose every part is misused)
BODIES = {
    "/v1/chat/completions": ("POST", ("openai_chat.c", "openai.h", "openai_read.c", "chat_read.c"), {
        "model": MODEL, "messages": TALK, "max_tokens": 1, "tools": [TOOL], "tool_choice": "none",
        "stream_options": {"include_usage": True}, "stream": True, "logit_bias": {"5": 1},
        "response_format": {"type": "text"}, "chat_template_kwargs": {"enable_thinking": False}, "stop": ["@"]}),
    "/v1/completions": ("POST", ("openai_completions.c", "openai.h"), {
        "model": MODEL, "prompt": ["a", "b"], "max_tokens": 1, "logprobs": 1, "n": 1}),
    "/v1/responses": ("POST", ("openai_responses.c", "openai_responses_read.c"), {
        "model": MODEL, "max_output_tokens": 16, "tools": [{"type": "function", **TOOL["function"]}],
        "tool_choice": "none", "text": {"format": {"type": "text"}}, "reasoning": {"effort": "none"},
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "a"}]},
                  {"type": "function_call", "call_id": "c", "name": "order", "arguments": "{}"},
                  {"type": "function_call_output", "call_id": "c", "output": "x"}]}),
    "/v1/embeddings": ("POST", ("openai_models.c",), {"model": MODEL, "input": ["a", "b"], "dimensions": 4}),
    "/v1/messages": ("POST", ("anthropic.c", "anthropic_read.c"), {
        "model": MODEL, "max_tokens": 1, "system": [{"type": "text", "text": "s"}],
        "tools": [{"name": "order", "input_schema": PARAMETERS}], "tool_choice": {"type": "none"},
        "thinking": {"type": "disabled"}, "stop_sequences": ["@"], "metadata": {"user_id": "u"},
        "messages": ASK + [
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "order", "input": {"id": 3}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "x"}]}]}),
    "/v1/messages/count_tokens": ("POST", ("anthropic.c",), {"model": MODEL, "messages": ASK}),
    "/api/generate": ("POST", ("ollama_generate.c",), {
        "model": MODEL, "prompt": "a", "stream": False, "options": OPTIONS, "format": "", "context": [1, 2],
        "keep_alive": "5m"}),
    "/api/chat": ("POST", ("ollama_generate.c",), {
        "model": MODEL, "messages": OLLAMA_TALK, "stream": False, "options": OPTIONS, "tools": [TOOL]}),
    "/api/embed": ("POST", ("ollama_embed.c",), {"model": MODEL, "input": ["a"], "options": {"num_ctx": 64}}),
    "/api/embeddings": ("POST", ("ollama_embed.c",), {"model": MODEL, "prompt": "a"}),
    "/api/show": ("POST", ("ollama_show.c",), {"model": MODEL, "verbose": False}),
    "/api/create": ("POST", ("ollama_models.c",), {
        "model": "made", "from": MODEL, "stream": False, "parameters": {"num_predict": 3, "stop": ["@"]},
        "system": "s", "license": ["l"], "messages": ASK, "files": {}, "adapters": {}}),
    "/api/copy": ("POST", ("ollama_models.c",), {"source": MODEL, "destination": "copied"}),
    "/api/delete": ("DELETE", ("ollama_models.c",), {"model": "nobody"}),
    "/api/pull": ("POST", (), {"model": "nobody", "insecure": False}),
    "/api/push": ("POST", (), {"model": "nobody"}),
    "/tokenize": ("POST", ("tokens.c",), {"model": MODEL, "content": "a story"}),
    "/detokenize": ("POST", ("tokens.c",), {"model": MODEL, "tokens": [5, 6]}),
    "/apply-template": ("POST", ("tokens.c",), {"model": MODEL, "messages": TALK, "tools": [TOOL]}),
    "/v1/agents/thermostat/run": ("POST", ("agents.c",), {
        "percept": PERCEPT, "session_values": {}, "dry": True, "stream": False}),
    "/v1/approvals/a-1": ("POST", ("approvals.c",), {"decision": "yes", "note": "n"}),
}


def fields(s):
    """Every part of each route's body, and every field that its tables name."""
    n = 0
    client = Client(s)
    for path, (method, sources, body) in BODIES.items():
        at = list(places(body))
        at += [(name,) for name in field_names(*sources) if name not in body]
        for place in at:
            deep = len(place) > 2
            for text in VALUES[::4] if deep else VALUES:
                client.judge(f"{place} = {text[:30]}", method, path, with_text(body, place, text))
                n += 1
    check("fields were misused", n > 5000, n)
    for number in NUMBERS:
        for path in (f"/v1/audit?from={number[:30]}", f"/v1/audit?max={number[:30]}", f"/v1/audit/verify?head={number}",
                     f"/v1/sessions/{number}", f"/v1/approvals?max={number[:30]}", f"/v1/agents/{number}"):
            client.judge("", "GET", path)


def constrained(text):
    """A schema in every place that takes one."""
    ask = f'"model": "{MODEL}", "max_tokens": 4, "messages": [{{"role": "user", "content": "a"}}]'
    tool = f'{{"type": "function", "function": {{"name": "f", "parameters": {text}}}}}'
    yield "/v1/chat/completions", f'{{{ask}, "json_schema": {text}}}'
    yield "/v1/chat/completions", f'{{{ask}, "tools": [{tool}], "tool_choice": "required"}}'
    tool = f'{{"name": "f", "input_schema": {text}}}'
    yield "/v1/messages", f'{{{ask}, "tools": [{tool}], "tool_choice": {{"type": "any"}}}}'
    yield "/api/generate", (f'{{"model": "{MODEL}", "prompt": "a", "stream": false, "options": {{"num_predict": 4}}, '
                            f'"format": {text}}}')
    yield "/v1/responses", (f'{{"model": "{MODEL}", "input": "a", "max_output_tokens": 16, "text": {{"format": '
                            f'{{"type": "json_schema", "name": "x", "schema": {text}}}}}}}')


def powers(kind, n):
    """$defs of which each names the one before twice: 2^n when written out."""
    defs = {"d0": {"type": "string"}}
    for i in range(1, n):
        one = {"$ref": f"#/$defs/d{i - 1}"}
        defs[f"d{i}"] = {kind: [one, one]} if kind.endswith("Of") else \
            {"type": "object", "properties": {"a": one, "b": one}, "required": ["a", "b"]}
    return {"$defs": defs, "$ref": f"#/$defs/d{n - 1}"}


def chain(kind, n, end):
    text = json.dumps(end)
    return f'{{"{kind}": [' * n + text + "]}" * n


SCHEMAS = {
    "a pattern of 60k (": json.dumps({"type": "string", "pattern": "(" * 60000}),
    "60k groups": json.dumps({"type": "string", "pattern": "(" * 60000 + "a" + ")" * 60000}),
    "nested repeats": json.dumps({"type": "string", "pattern": "(a+)+$"}),
    "repeats of repeats": json.dumps({"type": "string", "pattern": "((a{1000}){1000}){1000}"}),
    "a row of repeats": json.dumps({"type": "string", "pattern": "(x{0,1000}){0,1000}" * 20}),
    "a class of everything": json.dumps({"type": "string", "pattern": "[\\s\\S]{0,100000}" * 50}),
    "look-ahead": json.dumps({"type": "string", "pattern": "^(?=(a+)+$)b"}),
    "alternatives": json.dumps({"type": "string", "pattern": "(a|a|a|a)*" * 500}),
    "itself": '{"$ref": "#"}',
    "a circle": '{"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}',
    "a circle of allOf": '{"allOf": [{"$ref": "#"}, {"type": "object"}]}',
    "a circle of anyOf": '{"anyOf": [{"$ref": "#"}]}',
    "a tree without leaves": '{"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}',
    "2^40 objects": json.dumps(powers("properties", 40)),
    "2^40 anyOf": json.dumps(powers("anyOf", 40)),
    "2^40 oneOf": json.dumps(powers("oneOf", 40)),
    "2^40 allOf": json.dumps(powers("allOf", 40)),
    "deep allOf": chain("allOf", 10000, {"type": "string"}),
    "deep anyOf": chain("anyOf", 10000, {"type": "string"}),
    "deep items": '{"type": "array", "items": ' * 10000 + "{}" + "}" * 10000,
    "products of anyOf": json.dumps({"allOf": [{"anyOf": [{"minimum": i}, {"maximum": 99 + i}]} for i in range(40)]}),
    "10^5 choices": json.dumps({"enum": list(range(100000))}),
    "a long length": '{"type": "string", "minLength": 9223372036854775807}',
    "10^9 letters": '{"type": "string", "minLength": 1000000000, "maxLength": 1000000000}',
    "10^9 items": '{"type": "array", "minItems": 1000000000, "items": {"type": "integer"}}',
    "10^9 of ten": '{"type": "array", "maxItems": 1000000000, "items": {"type": "array", "maxItems": 1000000000}}',
    "different items": '{"type": "array", "uniqueItems": true, "minItems": 100000}',
    "5,000 properties": json.dumps({"type": "object", "properties": {f"p{i}": {} for i in range(5000)}}),
    "5,000 needed": json.dumps({"type": "object", "required": [f"p{i}" for i in range(5000)]}),
    "patterns of properties": json.dumps({"type": "object", "patternProperties": {
        f"^(a{i}|b)*$": {"type": "integer"} for i in range(300)}}),
    "numbers": '{"type": "integer", "minimum": -1e308, "maximum": 1e308, "multipleOf": 1e-300}',
    "multiples": '{"type": "integer", "multipleOf": 999999999999999989}',
    "negative sizes": '{"type": "array", "minItems": -1, "maxItems": -9223372036854775808}',
    "a far ref": '{"$ref": "http://127.0.0.1:9/x"}',
    "a file": '{"$ref": "file:///etc/passwd"}',
    "no schema": '"x"',
}
GRAMMARS = {
    "60k (": "root ::= " + "(" * 60000,
    "60k groups": "root ::= " + "(" * 60000 + '"a"' + ")" * 60000,
    "left recursion": 'root ::= root "a"',
    "a circle": "root ::= a\na ::= b\nb ::= a",
    "nothing for ever": 'root ::= ""* ""*',
    "powers": "root ::= r30\n" + "\n".join(f"r{i} ::= r{i - 1} r{i - 1}" for i in range(1, 31)) + '\nr0 ::= ""',
    "ambiguous": 'root ::= root root | "a" | ""',
    "repeats": 'root ::= ((("a"{1000}){1000}){1000}){1000}',
    "a large repeat": 'root ::= "a"{4294967296}',
    "many rules": "root ::= r0\n" + "\n".join(f'r{i} ::= "a" | r{i + 1}' for i in range(20000)) + '\nr20000 ::= "b"',
    "no rule": "root ::= nowhere",
    "no grammar": "(((",
    "a long class": "root ::= [" + "a-z" * 20000 + "]*",
    "numbers": "root ::= [\\UFFFFFFFF]",
}
PATTERNS = ["(a+)+$", "(a|a)*$", "(.*)*", "((a{1000}){1000}){1000}", "(" * 60000, "[" * 60000, "a{99999999999}",
            "a{2,1}", "\\", "(?<=a+)b", "(?P<x>a)(?P=x)", "(a?){64}a{64}", "(.*a){25}", "[^\\x00-\\U0010ffff]",
            "x*" * 5000, "(((((a*)*)*)*)*)*", "\\p{L}{0,1000}" * 100]


def constraints(s):
    client = Client(s)
    for what, text in SCHEMAS.items():
        for path, raw in constrained(text):
            client.judge(what, "POST", path, raw.encode())
    ask = {"model": MODEL, "max_tokens": 4, "messages": ASK}
    for what, text in GRAMMARS.items():
        client.judge(what, "POST", "/v1/chat/completions", json.dumps({**ask, "grammar": text}).encode())
    for text in PATTERNS:
        client.judge(text[:40], "POST", "/v1/chat/completions", json.dumps({**ask, "guided_regex": text}).encode())
    for what, n in (("of one name", lambda i: "f"), ("1,024", lambda i: f"f{i}"), ("hostile", lambda i: HOSTILE[i % len(
            HOSTILE)] + str(i)), ("without a name", lambda i: ""), ("2,000", lambda i: f"f{i}")):
        tools = [{"type": "function", "function": {"name": n(i), "parameters": PARAMETERS}}
                 for i in range(2000 if what == "2,000" else 1024)]
        for choice in ("none", "required"):
            raw = json.dumps({**ask, "tools": tools, "tool_choice": choice}).encode()
            want = None if what == "1,024" else (400,)
            client.judge(f"tools {what} {choice}", "POST", "/v1/chat/completions", raw, want=want)


HOSTILE = ["../../../../etc/passwd", "..", ".", "/etc/passwd", "a/../../b", "..\\..\\x", "a\0b", "a\nb", "a\x7fb", " ",
           "a:b:c", ":", "a:", "sha256:" + "0" * 64, "C:\\x", "~/x", "$(id)", "`id`", "'; DROP TABLE sessions; --",
           "%s%s%n", "{{ 7*7 }}", "\u202etxt", "\ufeffx", "a" * 100000, "file:///etc/passwd", "tiny/../tiny", "-rf",
           "*", "CON", "tiny:latest/../../x"]



def bodies(s):
    """Bodies that are no JSON, or more of it than they look like."""
    client = Client(s)
    head = f'"model": "{MODEL}", "max_tokens": 1, "messages": [{{"role": "user", "content": "a"}}]'
    good = f"{{{head}}}"
    wrong = {
        "100k [": "[" * 100000, "100k {": '{"a":' * 100000, "deep in a field": f'{{{head}, "x": {"[" * 100000}',
        "closed": f'{{{head}, "x": {"[" * 100000}{"]" * 100000}}}', "no end": good[:-1], "more behind": good + "x",
        "two": good + good, "a key twice": f'{{{head}, "model": "x"}}',
        "deep twice": f'{{{head}, "x": {{"a": 1, "a": 2}}}}',
        "half a pair": f'{{{head}, "user": "\\ud800"}}', "a turned pair": f'{{{head}, "user": "\\udc00\\ud800"}}',
        "NaN": f'{{{head}, "seed": NaN}}', "Infinity": f'{{{head}, "seed": -Infinity}}',
        "hex": f'{{{head}, "seed": 0x1}}',
        "a zero first": f'{{{head}, "seed": 01}}', "a comma": f"{{{head},}}", "a comment": f"{{{head}/**/}}",
        "quotes": good.replace('"', "'"), "nothing": "", "blank": " " * 100000, "a text": '"x"', "null": "null",
    }
    for what, text in wrong.items():
        for path in ("/v1/chat/completions", "/v1/messages", "/api/chat", "/api/create", "/tokenize"):
            client.judge(what, "POST", path, text.encode(), want=(400,))
    for what, raw in {"UTF-16": good.encode("utf-16"), "UTF-16 bare": good.encode("utf-16-le"),
                      "UTF-32": good.encode("utf-32"), "Latin-1": good.replace('"a"', '"\xe4"').encode("latin-1"),
                      "long UTF-8": good.encode().replace(b'"a"', b'"\xc0\xaf"'), "NUL": good.encode() + b"\0",
                      "NUL in a text": good.encode().replace(b'"a"', b'"\0"'),
                      "a surrogate's bytes": good.encode().replace(b'"a"', b'"\xed\xa0\x80"')}.items():
        client.judge(what, "POST", "/v1/chat/completions", raw, want=(400,))
    client.judge("BOM", "POST", "/v1/chat/completions", b"\xef\xbb\xbf" + good.encode(), want=(200, 400))
    many = ", ".join(f'"k{i}": {i}' for i in range(100000))
    client.judge("100k fields", "POST", "/v1/chat/completions", f"{{{head}, {many}}}".encode(), want=(200, 400))
    for name in ("x\\r\\nset-cookie: a=b", "\\u0000", "\\ud83d\\ude00", "a" * 8000, ", ", "\\u202e"):
        status, got, _ = client.judge(f"a field {name[:20]}", "POST", "/v1/chat/completions",
                                      f'{{{head}, "{name}": 1}}'.encode())
        check("a header of its own", "set-cookie" not in got, got)
    for fields_of_template in ({"chat_template": "{{ x }}"}, {"template": "{{ x }}"},
                               {"chat_template_kwargs": {"chat_template": "{{ x }}"}}, {"options": {"template": "x"}}):
        for path, (method, _, body) in BODIES.items():
            if "messages" not in body and "prompt" not in body or path == "/api/create":
                continue
            loop = "{% for a in range(9999) %}{% for b in range(9999) %}@{{ b }}{% endfor %}{% endfor %}"
            raw = json.dumps({**body, **json.loads(json.dumps(fields_of_template).replace("{{ x }}", loop))}).encode()
            _, _, data = client.judge("a template", method, path, raw)
            check("no template", b"@0@1@2" not in data, data[:200])


def templates(s):
    """A template is a model's; one that never ends costs its request, and no more than its budget."""
    client = Client(s)
    loops = {
        "loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "short": "{% set n = namespace(x='aaaaaaaa') %}{% for i in range(64) %}{% set n.x = n.x + n.x %}{% endfor %}",
        "itself": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "output": "{% for a in range(99999999) %}{{ 'x' * 9999999 }}{% endfor %}",
        "a product": "{{ 'x' * 9223372036854775807 }}", "a range": "{{ range(9223372036854775807) | list | length }}",
        "joined": "{{ (range(99999) | join('x' * 99999)) }}", "deep": "{{ " + "(" * 50000 + "1" + ")" * 50000 + " }}",
        "brackets": "{{ " + "[" * 50000, "blocks": "{% if 1 %}" * 50000,
        "filters": "{{ 1" + " | string" * 50000 + " }}",
        "replaced": "{{ ('a' * 9999) | replace('a', 'a' * 9999) | replace('a', 'a' * 9999) }}",
        "powers": "{{ 9 ** 9 ** 9 ** 9 }}", "divided": "{{ 1 // 0 }}{{ 1 % 0 }}",
        "least": "{{ -9223372036854775808 // -1 }}",
        "inside": "{{ ''.__class__.__mro__[1].__subclasses__() }}", "a file": "{% include '/etc/passwd' %}",
        "sorted": "{% for i in range(9999) %}{{ range(9999) | sort | reverse | list | length }}{% endfor %}",
    }
    for what, text in loops.items():
        status, _, _ = client.judge(what, "POST", "/api/create", json.dumps(
            {"model": "looped", "from": MODEL, "template": text, "stream": False}).encode())
        if status == 200:
            for path in ("/apply-template", "/api/chat", "/v1/chat/completions"):
                raw = {"model": "looped", "messages": ASK, "stream": False}
                raw.update({"options": OPTIONS} if path == "/api/chat" else {"max_tokens": 1})
                _, _, data = client.judge(what, "POST", path, json.dumps(raw).encode())
                check(what, b"root:" not in data and b"<class" not in data and len(data) < 1 << 20, data[:200])
            client.judge(what, "DELETE", "/api/delete", b'{"model": "looped"}', want=(200,))
    for what, text in {"loops": loops["loops"], "deep": loops["deep"]}.items():
        path = os.path.join(s.home, "Modelfile")
        with open(path, "w", encoding="utf-8") as f:
            f.write(f'FROM {MODEL}\nTEMPLATE """{text}"""\n')
        code, _, err = muga(s.home, "create", "looped", "-f", path)
        check(f"muga create: {what}", code in (0, 1, 2, 3, 4, 5, 6) and err.count("\n") <= 3, code, err)


def digests():
    good = "0123456789abcdef" * 4
    for before in ("SHA256:", "sha256-", "sha512:", "", ":", "sha256::", "%20sha256:", "/sha256:", "sha256%00:"):
        yield before + good
    for behind in ("", good[:-1], good + "0", good.upper(), good[:-1] + "g", "%00" * 2 + good[2:], good + "%00",
                   good + "%0a", good + ".", good + "%20"):
        yield "sha256:" + behind
    for i in range(64):
        for bad in ("%2f", ".", "%2e%2e%2f"):
            yield "sha256:" + good[:i] + bad + good[i + 1:]


def tree(home):
    return sorted(os.path.join(at, name) for at, _, names in os.walk(home) for name in names if "muga.db" not in name)


def names(s):
    """Names, sessions and digests that lead elsewhere: refused, in the same words whether the file is there or not."""
    client = Client(s)
    around = os.path.dirname(os.path.dirname(s.home))
    before = tree(around)
    n = 0
    for digest in digests():
        for method in ("HEAD", "POST"):
            client.judge("", method, f"/api/blobs/{digest}", b"x" if method == "POST" else None,
                         want=(400, 404, 405))
            n += 1
    check("hostile digests", n >= 200, n)
    for name in HOSTILE:
        for path, body in (
                ("/v1/chat/completions", {"model": name, "messages": ASK}), ("/api/show", {"model": name}),
                ("/api/generate", {"model": name, "prompt": "x", "stream": False}),
                ("/v1/embeddings", {"model": name, "input": "a"}),
                ("/api/copy", {"source": name, "destination": "y"}), ("/tokenize", {"model": name, "content": "x"}),
                ("/v1/messages", {"model": name, "max_tokens": 1, "messages": ASK}),
                ("/api/create", {"model": "made", "from": name, "stream": False}),
                ("/api/create", {"model": "made", "files": {name: "sha256:" + "0" * 64}, "stream": False}),
                ("/api/create", {"model": "made", "files": {"a.gguf": name}, "stream": False}),
                ("/api/create", {"model": "made", "from": MODEL, "adapters": {"a": name}, "stream": False}),
                ("/v1/chat/completions", {"model": "agent:" + name, "messages": ASK}),
                ("/v1/agents/thermostat/run", {"session": name, "percept": PERCEPT})):
            client.judge(name[:20], "POST", path, json.dumps(body).encode(), want=(400, 404))
        for path, body in (("/api/copy", {"source": MODEL, "destination": name}),
                           ("/api/create", {"model": name, "from": MODEL, "stream": False})):
            client.judge(name[:20], "POST", path, json.dumps(body).encode(), want=(400,))
        raw = "".join(f"%{b:02x}" for b in name[:2000].encode())
        for path in ("/v1/models/", "/v1/agents/", "/v1/sessions/", "/v1/approvals/"):
            client.judge(name[:20], "GET", path + raw, want=(400, 404, 405))
        client.judge(name[:20], "GET", "/v1/audit?session=" + raw, want=(200, 400))
        client.judge(name[:20], "GET", "/v1/audit/verify?head=" + raw, want=(200, 400))
        client.judge(name[:20], "POST", f"/v1/agents/{raw}/run", json.dumps({"input": "x"}).encode(), want=(400, 404))
        client.judge(name[:20], "DELETE", "/v1/sessions/" + raw, want=(400, 404))
        client.judge(name[:20], "POST", "/v1/approvals/" + raw, b'{"decision": "yes"}', want=(400, 403, 404))
    for a, b in (("/etc/passwd", "/etc/passwx"), ("../../../../etc/passwd", "../../../../etc/passwx"),
                 ("../blobs", "../blobx")):
        for path, member in (("/api/show", "model"), ("/api/copy", "source"), ("/api/create", "from")):
            body = {"destination": "y", "model": "made", "stream": False}
            one, two = (client.ask("POST", path, json.dumps({**body, member: name}).encode())[::2] for name in (a, b))
            check("no oracle", (one[0], one[1].replace(a.encode(), b"@")) == (two[0], two[1].replace(b.encode(), b"@")),
                  path, one, two)
    new = [p for p in tree(around) if p not in before and not p.startswith(s.home)]
    check("nothing is made elsewhere", not new, new)


def peak_mib(s):
    with open(f"/proc/{s.process.pid}/status", encoding="ascii") as f:
        return int(next(line for line in f if line.startswith("VmHWM")).split()[1]) // 1024


def much(s):
    """What is answered with many times its own size, or could be: as much as has room, and no more."""
    client = Client(s)
    with open(f"/proc/{s.process.pid}/clear_refs", "w", encoding="ascii") as f:
        f.write("5")  # the peak begins anew
    before = peak_mib(s)
    for path, body, most in (("/tokenize", {"with_pieces": True, "content": "a" * 2**20}, 2**20),
                             ("/tokenize", {"content": "a" * 2**22}, 2**22),
                             ("/detokenize", {"tokens": [5] * 2**20}, 2**20)):
        status, _, data = client.judge("much", "POST", path, json.dumps({"model": MODEL, **body}).encode(), want=(200,))
        check("whole", status == 200 and len(json.loads(data).get("tokens", body.get("tokens"))) == most, path)
        more = {k: v + v[:1] if isinstance(v, (str, list)) else v for k, v in body.items()}
        data = client.judge("more", "POST", path, json.dumps({"model": MODEL, **more}).encode(), want=(400,))[2]
        check("says how much", str(most).encode() in data, path, data)
    check("memory", peak_mib(s) - before < 300, before, peak_mib(s))


def secrets(s):
    """What a client sends to show who it is, or says to a model, is in no log, no count and no other's answer."""
    client = Client(s)
    heads = ({"Authorization": "Bearer " + CANARY}, {"Authorization": CANARY}, {"x-api-key": CANARY},
             {"Authorization": "Basic " + CANARY}, {"Cookie": CANARY}, {"Proxy-Authorization": CANARY})
    seen = b""
    for head in heads:
        for method, path, body in (("POST", "/v1/chat/completions", {"model": MODEL, "messages": ASK, "max_tokens": 1}),
                                   ("POST", "/v1/chat/completions", {"model": "none"}), ("GET", "/v1/none", None),
                                   ("GET", "/v1/audit", None),
                                   ("POST", "/v1/agents/thermostat/run", {"percept": PERCEPT}),
                                   ("POST", "/api/create", {"model": "x", "from": "none"}), ("GET", "/metrics", None)):
            got = client.judge("a secret", method, path, json.dumps(body).encode() if body else None, head)
            seen += str(got[1]).encode() + got[2]
    said = {"model": MODEL, "messages": [{"role": "user", "content": CANARY}], "max_tokens": 1}
    client.judge("said", "POST", "/v1/chat/completions", json.dumps(said).encode(), want=(200,))
    client.judge("said", "POST", "/v1/chat/completions", json.dumps({**said, "seed": CANARY}).encode(), want=(400,))
    client.judge("said", "POST", "/v1/chat/completions", json.dumps({**said, "messages": CANARY}).encode(), want=(400,))
    seen += client.ask("GET", "/metrics")[2] + client.ask("GET", "/v1/audit")[2]
    check("no secret in an answer", CANARY.encode() not in seen)
    check("no secret in the log", CANARY not in s.said())


with tempfile.TemporaryDirectory(prefix="muga-faults-") as scratch:
    inner = os.path.join(scratch, "inner", "home")
    os.makedirs(inner)
    with Server(home=inner, models=((MODEL, TINY), ("healthy", TINY))) as server, Beside(server, "healthy"):
        for part in (fields, constraints, bodies, much, templates, names, secrets):
            part(server)
for line in failures[:200]:
    print(line)
sys.exit(1 if failures else 0)
