#!/usr/bin/env python3
"""A model's file that is cut short while a chat runs over it. Would break: the program would die of a bare signal, and
nobody would know which file to fetch again."""

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tempfile

MUGA = os.environ["MUGA_PROGRAM"]


def read_until(fd, pattern):
    """What the terminal shows up to the pattern, or all there is."""
    shown = b""
    while not re.search(pattern, shown):
        try:
            more = os.read(fd, 4096)
        except OSError:  # the other end is closed
            break
        if not more:
            break
        shown += more
    return shown.decode(errors="replace")


def main():
    signal.alarm(550)  # hangs are CTest's business; by hand, this ends them
    with tempfile.TemporaryDirectory() as folder:
        # The embedding of this model stays in the file and is read row by row, so each turn touches the mapping.
        model = os.path.join(folder, "tiny\x1b[2J.gguf")
        shutil.copy("tests/data/tiny.gguf", model)
        master, slave = pty.openpty()
        chat = subprocess.Popen([MUGA, "run", model, "-n", "4"], stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        first = read_until(master, rb">>> ")
        if ">>> " not in first:
            sys.exit(f"no chat began: {first}")
        os.truncate(model, 0)
        os.write(master, b"hello\n")
        rest = read_until(master, rb"by renaming")
        code = chat.wait()
        os.close(master)
    lines = [line for line in rest.splitlines() if "muga:" in line]
    if code != 6 or len(lines) != 1 or "tiny?[2J.gguf" not in lines[0] or "cut short" not in lines[0]:
        sys.exit(f"exit {code}, wanted 6 and one line that names the file: {rest!r}")


main()
