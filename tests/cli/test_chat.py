#!/usr/bin/env python3
"""A chat on a terminal, as a person has it. Would break: a chat that outgrows its context would lose its beginning
without a word, an answer cut short would pass for a whole one, or what one turn did wrong would spoil the next."""

import os
import pty
import re
import signal
import subprocess
import sys
import tempfile

MUGA = os.environ["MUGA_PROGRAM"]
MODEL = "tests/data/tiny.gguf"


class Chat:
    def __init__(self, *options):
        self.terminal, other = pty.openpty()
        self.child = subprocess.Popen([MUGA, "run", MODEL, *options], stdin=other, stdout=other, stderr=other)
        os.close(other)
        self.read()

    def read(self):
        """What is shown up to the next prompt, or the end."""
        shown = b""
        while not re.search(rb">>> $", shown):
            try:
                more = os.read(self.terminal, 4096)
            except OSError:  # the other end is closed
                break
            if not more:
                break
            shown += more
        return shown.decode(errors="replace")

    def say(self, line):
        os.write(self.terminal, line.encode() + b"\n")
        return self.read()

    def end(self):
        os.write(self.terminal, b"\x04")
        self.read()
        os.close(self.terminal)
        return self.child.wait()


def expect(name, shown, *parts, notes=None):
    """Every part is in what was shown; so many of its lines are the program's own."""
    lines = [line for line in shown.splitlines() if line.startswith("muga: ")]
    missing = [part for part in parts if part not in shown]
    if missing or (notes is not None and len(lines) != notes):
        sys.exit(f"{name}: {missing} missing, {len(lines)} lines of the program in:\n{shown}")


def muga_once(*arguments):
    done = subprocess.run([MUGA, "run", MODEL, *arguments], stdin=subprocess.DEVNULL, capture_output=True, check=True)
    return (done.stdout + done.stderr).decode(errors="replace")


def forgotten_in_a_file():
    """/clear forgets what was kept in a file as well, all but the system message."""
    with tempfile.TemporaryDirectory() as folder:
        kept = os.path.join(folder, "chat.session")

        def holds(name, *texts):
            with open(kept, "rb") as f:
                content = f.read()
            for text in ("where is my order", "be short", "good morning"):
                if (text.encode() in content) != (text in texts):
                    sys.exit(f"{name}: the file has {text!r}, or has lost it")

        muga_once("--session", kept, "-n", "8", "--system", "be short", "where is my order")
        holds("a conversation kept", "be short", "where is my order")
        chat = Chat("--session", kept, "-n", "8")
        chat.say("/clear")
        chat.say("good morning")
        chat.end()
        holds("another one after /clear", "be short", "good morning")
        chat = Chat("--session", kept, "-n", "8")
        chat.say("/clear")
        if chat.end() != 0 or os.path.exists(kept):
            sys.exit("a conversation that was forgotten is still in its file")


def main():
    signal.alarm(550)  # hangs are CTest's business; by hand, this ends them
    # The system message and the first question take about half of the context.
    chat = Chat("--ctx", "150", "-n", "24", "--seed", "1")
    chat.say("hello")
    shown, turns = "", 0
    while "outgrown" not in shown and turns < 20:
        shown = chat.say("where is my order, please")
        turns += 1
    if turns < 2:
        sys.exit("the context was full at once; adapt this test")
    expect("a chat that has outgrown its context", shown, "nothing was cut", "/clear", "context of 150", notes=1)
    expect("it stays so", chat.say("where is my order, please"), "outgrown", notes=1)
    expect("/clear", chat.say("/clear"), "forgotten", notes=0)
    if "outgrown" in chat.say("hello"):
        sys.exit("a chat that was forgotten is still in the way")
    chat.say("/clear")
    shown = chat.say("many words " * 100)
    expect("one message too long by itself", shown, "more than the context of 150", "limit is 2048", notes=1)
    if "outgrown" in shown:
        sys.exit(f"there was no chat yet that could have outgrown anything:\n{shown}")
    code = chat.end()
    if code != 0:
        sys.exit(f"Ctrl-D ends a chat with {code}")

    cut = "cut where the context of 110 tokens ended"
    for seed in range(10):  # whether an answer ends by itself is chance
        chat = Chat("--ctx", "110", "--seed", str(seed))
        shown = chat.say("hello")
        chat.end()
        if cut in shown:
            break
    expect("an answer that ends where the context does", shown, cut, notes=1)
    shown = muga_once("--ctx", "110", "--seed", str(seed), "hello")
    expect("the same without a chat", shown, cut, notes=1)
    forgotten_in_a_file()


main()
