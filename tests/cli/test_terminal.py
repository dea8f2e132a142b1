#!/usr/bin/env python3
"""muga on a terminal, and interrupted. Would break: the chat, its keys and its limits, the question whether a held call
may run, a bar that breaks on a narrow terminal, control characters of a model let through, or the exit code 130."""

import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time

MUGA = os.environ["MUGA_PROGRAM"]
ROOT = os.getcwd()
TINY = os.path.join(ROOT, "tests", "data", "tiny.gguf")
PATIENCE_S = 300


def wrong(name, said):
    sys.exit(f"{name}; the terminal shows:\n{said!r}")


def on_terminal(name, code, steps, *arguments, columns=80):
    """Runs muga on a terminal of its own; steps: (what to wait for, what to type). Returns what the terminal shows."""
    pid, fd = pty.fork()
    if pid == 0: # the size is set before the program can ask for it
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 5, columns, 0, 0))
        os.execve(MUGA, [MUGA, *arguments], {**os.environ, "TERM": "xterm", "NO_COLOR": "1"})
    shown, at, steps = "", 0, list(steps)
    end = time.monotonic() + PATIENCE_S
    while True:
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
            wrong(f"{name}: waits for {steps[:1]}", shown)
        if select.select([fd], [], [], 0.1)[0]:
            try:
                got = os.read(fd, 65536)
            except OSError:  # the program has ended
                break
            if not got:
                break
            shown += got.decode("utf-8", "replace")
        found = re.compile(steps[0][0]).search(shown, at) if steps else None
        if found:
            at = found.end()
            os.write(fd, steps.pop(0)[1].encode())
    got = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(fd)
    if got != code or steps:
        wrong(f"{name}: exit {got}, expected {code}; {len(steps)} steps left", shown)
    return shown.replace("\r\n", "\n")


def chat():
    said = on_terminal("a chat", 0, [(">>> ", "hello\n"), (">>> ", "/clear\n"), ("forgotten\r\n>>> ", "/help\n"),
                                     ("/bye .*\r\n>>> ", "\x03"), (r"ends the chat\)\r\n>>> ", "again\n"),
                                     (">>> ", "\x04")], "run", TINY, "-n", "8", "--temp", "0")
    first, second = [part.split("\n")[1] for part in said.split(">>> ") if part.startswith(("hello", "again"))]
    if not first or not second:
        wrong("a chat answers", said)
    if re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x9f]", said):
        wrong("control characters of a model are shown, not sent", said)
    on_terminal("/bye", 0, [(">>> ", "/bye\n")], "run", TINY)
    on_terminal("Ctrl-C while it answers", 0, [(">>> ", "hello\n"), (r"hello\r\n.", "\x03"), (">>> ", "/bye\n")],
                "run", TINY, "--temp", "0")
    said = on_terminal("a chat that outgrows its context", 0,
                       [(">>> ", "hello\n"), (">>> ", "a longer one, " * 20 + "\n"), (">>> ", "/bye\n")],
                       "run", TINY, "-n", "4", "--ctx", "90")
    if not re.search("muga: the chat has outgrown its context .* more than the context of 90.*/clear", said):
        wrong("an outgrown chat is said to be", said)


def narrow():
    for columns in (24, 9):
        said = on_terminal("a narrow terminal", 0, [], "run", TINY, "-n", "1", "hi", columns=columns)
        bars = [part for part in said.split("\r") if part.rstrip().endswith("%")]
        if not bars or max(map(len, bars)) >= columns:
            wrong(f"progress fits {columns} columns", said)


def approval(home):
    agent = os.path.join(home, "customer-service")
    shutil.copytree(os.path.join(ROOT, "agents", "customer-service"), agent)
    manifest = os.path.join(agent, "agent.yaml")
    with open(manifest, encoding="utf-8") as f:
        text = re.sub("model_weight: *[0-9.]+", "model_weight: 0", f.read())
    with open(manifest, "w", encoding="utf-8") as f:
        f.write(text)
    run = ["agent", "run", agent, "--model", TINY, "-s", "customer=7", "-m", "please reset my password"]
    question = "approve this call.*N. "
    for typed, code, shows in (("y\n", 0, "finished"), ("n\n", 5, "denied by"), ("\n", 5, "denied by"),
                               ("\x04", 5, "muga approve yes")):
        said = on_terminal(f"approval {typed!r}", code, [(question, typed)], *run)
        if shows not in said:
            wrong(f"approval {typed!r}: {shows}", said)
    on_terminal("Ctrl-C at the question", 130, [(question, "\x03")], *run)
    on_terminal("a conversation", 0, [("> ", "hello\n"), ("> ", "\x04")], *run[:-2])
    listed = subprocess.run([MUGA, "approve", "list"], capture_output=True, text=True, check=True).stdout
    if listed.count("reset_password") != 2:
        sys.exit(f"what was not decided waits: {listed}")


def interrupted():
    """Once it has begun to work, SIGINT ends it with 130, as a parent sees it."""
    for arguments, line in ((["debug", "tokens", TINY], b'{"text": "a"}\n'), (["debug", "validate"], b"{}\n")):
        with subprocess.Popen([MUGA, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as child:
            child.stdin.write(line)
            child.stdin.flush()
            child.stdout.readline()
            child.send_signal(signal.SIGINT)
            if child.wait(PATIENCE_S) != 130 or child.stderr.read():
                sys.exit(f"{arguments} interrupted: exit {child.returncode}")


if __name__ == "__main__":
    chat()
    narrow()
    interrupted()
    with tempfile.TemporaryDirectory() as folder:
        approval(folder)
    print("ok")
