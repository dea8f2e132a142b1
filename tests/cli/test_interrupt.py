#!/usr/bin/env python3
"""Ctrl-C while an agent is measured. Would break: a long evaluation could not be stopped, would end with another code
than 130, or would leave its copies of the agent's data behind."""

import os
import signal
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.getcwd(), "tests", "support"))
from program import MUGA, ROOT, TINY, environment, make_agent, until


def begin(folder, temporary, arguments):
    """A run of `agent test` that has made its folder, and would play for hours."""
    child = subprocess.Popen([MUGA, "agent", "test", *arguments, "--runs", "1000"],
                             env={**environment(folder), "TMPDIR": temporary}, stdout=subprocess.DEVNULL,
                             stderr=subprocess.PIPE)
    until(lambda: os.listdir(temporary) or child.poll() is not None)
    if os.listdir(temporary):
        return child
    child.kill()
    sys.exit(f"it made no folder; exit {child.poll()}: {child.stderr.read().decode()}")


def end(name, child, temporary):
    _, said = child.communicate(timeout=300)
    left = os.listdir(temporary)
    if child.returncode != 130 or left:
        sys.exit(f"{name}: exit {child.returncode}, not 130, and left {left}: {said.decode()}")


def main():
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as temporary:
        rules = [os.path.join(ROOT, "agents", "stock-keeper")]
        labels = [make_agent(folder), "--model", TINY]
        for name, arguments in (("rules", rules), ("labels", labels)):
            child = begin(folder, temporary, arguments)
            child.send_signal(signal.SIGINT)
            end(name, child, temporary)
        # timeout(1) and some shells send one wish to the process and to its group: twice within a moment.
        child = begin(folder, temporary, rules)
        child.send_signal(signal.SIGINT)
        child.send_signal(signal.SIGINT)
        end("twice", child, temporary)
    print("interrupting an evaluation: passed")


main()
