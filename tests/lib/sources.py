#!/usr/bin/env python3
"""Prints the C files of a compile_commands.json that are no tests, NUL-separated."""
import json
import os
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    commands = json.load(file)
paths = {os.path.realpath(os.path.join(one["directory"], one["file"])) for one in commands}
for path in sorted(paths):
    folder, name = os.path.split(path)
    if name.endswith(".c") and not name.startswith("test_") and "/tests/" not in path + "/":
        sys.stdout.write(path + "\0")
