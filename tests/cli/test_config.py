#!/usr/bin/env python3
"""muga config. If this failed, an operator could not see what the server will do, or where a value comes from."""

import json
import os
import sys
import tempfile

sys.path.insert(0, os.path.join(os.getcwd(), "tests"))
from support.program import expect, muga  # noqa: E402


def main():
    with tempfile.TemporaryDirectory() as home:
        path = os.path.join(home, "muga.yaml")
        with open(path, "w", encoding="utf-8") as f:
            f.write("listen: localhost:9000\nlimits:\n  body_bytes: 8MiB\nlog: {level: debug}\n")
        os.environ["MUGA_KEEP_ALIVE"] = "10m"
        text = expect("config", muga(home, "config", "--json", "--memory", "1GiB", "--set", "log.level=error"), 0)
        rows = {row["key"]: row for row in json.loads(text)}
        wanted = {"listen": (["localhost:9000"], "file", path + ":1"),
                  "limits.body_bytes": ("8MiB", "file", path + ":3"),
                  "models.keep_alive": ("10m", "environment", "MUGA_KEEP_ALIVE"),
                  "models.memory": ("1GiB", "flag", "--memory"), "log.level": ("error", "flag", "--set"),
                  "models.kv": ("f16", "default", "")}
        for key, (value, source, origin) in wanted.items():
            got = rows[key]
            end = origin[-60:]  # a long path shows its end
            if (got["value"], got["source"]) != (value, source) or not got["origin"].endswith(end):
                sys.exit(f"{key}: {got}, expected {value}, {source}, {origin}")
        expect("table", muga(home, "config"), 0, "limits.body_bytes", "8MiB", "MUGA_KEEP_ALIVE", "default")
        expect("check", muga(home, "config", "check", path), 0, "no fault found")
        expect("schema", muga(home, "config", "schema"), 0, '"additionalProperties": false')
        with open(path, "a", encoding="utf-8") as f:
            f.write("limit: 3\n")
        expect("wrong file", muga(home, "config", "check", path), 4, "muga.yaml:5:1: key limit: unknown key",
               "did you mean 'limits'?")
        expect("wrong flag", muga(home, "config", "--config", "/dev/null", "--keep-alive", "soon"), 4)
        os.remove(path)
        expect("wrong flag", muga(home, "config", "--keep-alive", "soon"), 2, "--keep-alive: models.keep_alive")
        expect("not there", muga(home, "config", "check", path), 3, "there is no such file")
        expect("unknown word", muga(home, "config", "chekc"), 2, "check FILE")


main()
