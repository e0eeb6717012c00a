#!/usr/bin/env python3
"""Writes a C source with the text of YAML files: embed.py OUTPUT SYMBOL FILE…

The result defines `const kfx_embedded_t SYMBOL[]` (base/embedded.h), ended by an entry without a name. A text's name is its
file name without ".yaml".
"""
import pathlib
import sys


def c_string(data: bytes) -> str:
    out = []
    for line in data.splitlines(keepends=True):
        text = ""
        for byte in line:
            char = chr(byte)
            if char == "\n":
                text += "\\n"
            elif char in '"\\?':
                text += "\\" + char
            elif 32 <= byte < 127:
                text += char
            else:
                text += f"\\{byte:03o}"
        out.append(f'     "{text}"')
    return "\n".join(out) or '     ""'


def main() -> None:
    output, symbol, files = sys.argv[1], sys.argv[2], sys.argv[3:]
    lines = ["/* Made by base/embed.py: do not edit. */",
             '#include "base/embedded.h"', "",
             "/* Every compiler we build with takes longer literals than ISO C99 promises. */",
             '#pragma GCC diagnostic ignored "-Woverlength-strings"', "", f"extern const kfx_embedded_t {symbol}[];",
             f"const kfx_embedded_t {symbol}[] = {{"]
    for name in files:
        path = pathlib.Path(name)
        lines += [f'    {{"{path.stem}",', c_string(path.read_bytes()) + "},"]
    lines += ["    {NULL, NULL},", "};", ""]
    pathlib.Path(output).write_text("\n".join(lines), encoding="ascii")


main()
