"""The other side of bench/agent: openai-agents, run by a Python that has it. JSON on standard input, a line a task out.

Given {"url", "tasks", "system", "tokens", "tools", "database"}. The first answer to a message must be a call; after it
the library's own default holds (reset_tool_choice), so the model may call again or answer.
"""
import asyncio, json, sqlite3, sys, time
from agents import (Agent, FunctionTool, MaxTurnsExceeded, ModelSettings, OpenAIChatCompletionsModel, Runner,
                    set_tracing_disabled)
from openai import AsyncOpenAI

TURNS = 8  # answers of the model to one message, as muga's limits.steps


def make_tool(t, db, calls):
    async def call(_, text):
        arguments = json.loads(text or "{}")
        calls.append({"name": t["name"], "arguments": arguments})
        rows = db.execute(t["sql"], {**arguments, "session_customer": 1})
        return json.dumps({"rows": [dict(r) for r in rows]})
    return FunctionTool(name=t["name"], description=t["description"], params_json_schema=t["parameters"],
                        on_invoke_tool=call, strict_json_schema=False)


async def run_task(agent, messages, calls):
    history, answers = [], []
    calls.clear()
    begin = time.monotonic_ns()
    for text in messages:
        try:
            result = await Runner.run(agent, history + [{"role": "user", "content": text}], max_turns=TURNS)
            history, answer = result.to_input_list(), str(result.final_output)
        except MaxTurnsExceeded:
            answer = ""
        answers.append(answer)
    us = (time.monotonic_ns() - begin) // 1000
    return {"us": us, "calls": list(calls), "answers": answers}


async def main():
    given, calls = json.load(sys.stdin), []
    set_tracing_disabled(True)
    db = sqlite3.connect(given["database"])
    db.row_factory = sqlite3.Row
    client = AsyncOpenAI(base_url=given["url"], api_key="none", timeout=300, max_retries=0)
    agent = Agent(name="shop", instructions=given["system"], tools=[make_tool(t, db, calls) for t in given["tools"]],
                  model=OpenAIChatCompletionsModel("model", client),
                  model_settings=ModelSettings(temperature=0, max_tokens=given["tokens"], tool_choice="required",
                                               parallel_tool_calls=False))
    await run_task(agent, given["tasks"][0], calls)
    for task in given["tasks"]:
        print(json.dumps(await run_task(agent, task, calls)), flush=True)


asyncio.run(main())
