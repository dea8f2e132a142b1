"""The scripts of ../shared/conformance/clients that ask as OpenAI's own Python client does, and OpenAI's specification,
against `muga serve` with the real model. If it fails, a program that was written for OpenAI's API meets something else.

Skipped, by name, where the scripts, the model, or the packages openai and jsonschema aren't there; MUGA_TEST_PYTHON
names a Python that has them."""

# ctest: slow
import json
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
from served import Served, check, failures  # noqa: E402

PYTHON = os.environ.get("MUGA_TEST_PYTHON", sys.executable)
CLIENTS = os.path.join(os.environ.get("MUGA_SHARED", "../shared"), "conformance", "clients")
MODEL = os.environ.get("MUGA_TEST_MODEL", "")
TOOL = {
    "name": "look",
    "description": "Look it up",
    "parameters": {
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
        "additionalProperties": False,
    },
}
VALIDATE = """
import json, sys
import referencing, referencing.jsonschema, jsonschema
document = json.load(open(sys.argv[1]))
kind = referencing.jsonschema.DRAFT202012
registry = referencing.Registry().with_resource("d", referencing.Resource.from_contents(document, kind))
for name, value in json.load(sys.stdin):
    v = jsonschema.Draft202012Validator({"$ref": "d#/components/schemas/" + name}, registry=registry)
    for e in v.iter_errors(value):
        print(name, "/".join(map(str, e.path)), e.message[:300])
"""


def skip(why):
    print("skipped: " + why)
    sys.exit(77)


def needs():
    if not os.path.isdir(CLIENTS):
        skip(CLIENTS + " is missing")
    if not os.path.isfile(MODEL):
        skip("the real model is missing; run scripts/setup --model")
    for package in ("openai", "jsonschema", "pydantic"):
        if subprocess.run([PYTHON, "-c", "import " + package], capture_output=True, check=False).returncode:
            skip(f"{PYTHON} has no package {package}")


def run_script(name, s):
    done = subprocess.run(
        [PYTHON, os.path.join(CLIENTS, name), s.url, "smollm2"],
        capture_output=True,
        text=True,
        timeout=550,
        check=False,
    )
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    good = done.returncode == 0 and not failed
    check(good, name + " has no failure", *failed, done.stdout[-300:], done.stderr[-2000:])
    check(re.search(r"must/pass=\d\d", done.stdout), name + " asked something", done.stdout[-300:])


def answers(s):
    """[(schema, answer)] of everything that the specification has a schema for."""
    chat = {"model": "smollm2", "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 24}
    calls = {"tools": [{"type": "function", "function": TOOL}], "tool_choice": "required", "max_tokens": 120}
    likely = {"logprobs": True, "top_logprobs": 2}
    response = {"model": "smollm2", "input": "Say hello.", "max_output_tokens": 16, "metadata": {"a": "b"}}
    uses = {"tools": [{"type": "function", **TOOL}], "tool_choice": "required", "max_output_tokens": 120}
    told = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
    yield "ListModelsResponse", s.get("/v1/models").json
    yield "Model", s.get("/v1/models/smollm2").json
    for more in ({}, likely, calls, {"n": 2}):
        yield "CreateChatCompletionResponse", s.post("/v1/chat/completions", {**chat, **more}).json
        r = s.post("/v1/chat/completions", {**chat, "stream": True, "stream_options": {"include_usage": True}, **more})
        for e in r.events[:-1]:
            yield "CreateChatCompletionStreamResponse", json.loads(e)
    body = {"model": "smollm2", "prompt": "One", "max_tokens": 4, "logprobs": 2}
    yield "CreateCompletionResponse", s.post("/v1/completions", body).json
    yield "CreateEmbeddingResponse", s.post("/v1/embeddings", {"model": "smollm2", "input": ["a", "b"]}).json
    for more in ({}, uses, told, {"instructions": "Be brief.", "reasoning": {"effort": "low"}}):
        yield "Response", s.post("/v1/responses", {**response, **more}).json
        for e in s.post("/v1/responses", {**response, "stream": True, **more}).events:
            yield "ResponseStreamEvent", json.loads(e)
    yield "ErrorResponse", s.post("/v1/chat/completions", {**chat, "n": 0}).json
    yield "ErrorResponse", s.post("/v1/chat/completions", {**chat, "model": "none"}).json


def main():
    needs()
    with Served(models=(("smollm2", MODEL),)) as s:
        found = list(answers(s))
        done = subprocess.run(
            [PYTHON, "-c", VALIDATE, os.path.join(CLIENTS, "openai_schemas.json")],
            input=json.dumps(found),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        check(done.returncode == 0 and not done.stdout, "answers fit the specification", done.stdout, done.stderr)
        check(len(found) > 50, "there were answers", len(found))
        run_script("openai_py.py", s)
    sys.exit(1 if failures else 0)


main()
