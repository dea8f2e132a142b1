"""What tests of the program share: running it as a person does, and an agent that any machine can run."""

import os
import re
import shutil
import subprocess
import sys
import time

MUGA = os.environ["MUGA_PROGRAM"]
ROOT = os.getcwd()
TINY = os.path.join(ROOT, "tests/data/tiny.gguf")
PATIENCE_S = 300  # before something counts as hanging: a machine may be loaded, and sanitizers are slow


def until(holds, seconds=60):
    """Whether it holds, now or within that time. What held once isn't asked again: it may pass."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def environment(home):
    return {**os.environ, "MUGA_HOME": home}


def muga(home, *arguments, said="", cwd=None):
    """(exit code, standard output, standard error); `said` is its standard input."""
    done = subprocess.run([MUGA, *arguments], env=environment(home), input=said, capture_output=True, text=True,
                          timeout=PATIENCE_S, check=False, cwd=cwd)
    return done.returncode, done.stdout, done.stderr


def expect(name, result, code, *parts):
    """Standard output of a result that has this code and, in either stream, these parts; else the test ends."""
    text = result[1] + result[2]
    missing = [part for part in parts if part not in text]
    if result[0] != code or missing:
        sys.exit(f"{name}: exit {result[0]}, expected {code} and {missing} in:\n{text}")
    return result[1]


def make_agent(folder):
    """The agent in the box, led by its examples alone: the tiny model of the tree knows nothing."""
    agent = os.path.join(folder, "customer-service")
    shutil.copytree(os.path.join(ROOT, "agents", "customer-service"), agent)
    path = os.path.join(agent, "agent.yaml")
    with open(path, encoding="utf-8") as f:
        text = f.read()
    text, n = re.subn(r"model_weight: *[0-9.]+", "model_weight: 0", text)
    if n != 1:
        sys.exit("agents/customer-service/agent.yaml has no model_weight any more; adapt tests/support/program.py")
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return agent
