#!/usr/bin/env python3
"""Turns the output of a test runner into results, one line a test: state, name, reason, parted by tabs.

    results.py meson TESTLOG.json LABEL OUT     meson's log; a program that prints cmocka's, TAP or unittest's lines is counted
                                                by these, any other one as one test
    results.py tap   FILE         LABEL OUT     TAP of bats

The output of failed programs is printed, so that it stands in the step's log.
"""
import json
import re
import sys

CMOCKA = re.compile(r"\[\s*(OK|FAILED|SKIPPED|ERROR)\s*\] (?!---)([A-Za-z_]\w*)\s*$")
CMOCKA_GROUP = re.compile(r"\[={10}\] .*Running \d+ test")
TAP = re.compile(r"^(not ok|ok)\s+\d+\s*-?\s*(.*?)(?:\s+#\s*(skip|todo)\b\s*(.*))?$", re.IGNORECASE)
TIMING = re.compile(r" in \d+ms$")
# Between the name and the word that ends it there may be a description and whatever the test printed.
UNITTEST = re.compile(
    r"^(\w+) \(([\w.]+)\)(?:(?!^\w+ \([\w.]+\)).)*?\.\.\. (?:(?!^\w+ \([\w.]+\)).)*?(ok|FAIL|ERROR|skipped '[^\n]*')$",
    re.MULTILINE | re.DOTALL)
STATES = {"OK": "pass", "FAIL": "fail", "FAILED": "fail", "ERROR": "fail", "SKIPPED": "skip"}


def cmocka_results(text):
    """Each test once, though cmocka lists the failed ones again at the end of a group."""
    seen, group = {}, 0
    for line in text.splitlines():
        if CMOCKA_GROUP.search(line):
            group += 1
        found = CMOCKA.search(line)
        if found:
            seen[(group, found.group(2))] = STATES[found.group(1)]
    return [(state, name, "") for (_, name), state in seen.items()]


def tap_results(text):
    results = []
    for line in text.splitlines():
        found = TAP.match(line)
        if not found:
            continue
        word, name, directive, reason = found.groups()
        state = "pass" if word.lower() == "ok" else "fail"
        if directive and directive.lower() == "skip":
            state = "skip"
        results.append((state, TIMING.sub("", name), reason or ""))
    return results


def unittest_results(text):
    results = []
    for found in UNITTEST.finditer(text):
        word, _, reason = found.group(3).partition(" ")
        name = ".".join(found.group(2).split(".")[1:]) or found.group(1)
        results.append((STATES[word.upper()], name, reason))
    return results


def program_results(test):
    """Of one program that meson ran."""
    name, outcome = test["name"].split(" / ")[-1], test["result"]
    text = (test.get("stdout") or "") + "\n" + (test.get("stderr") or "")
    found = cmocka_results(text) or tap_results(test.get("stdout") or "") or unittest_results(text)
    results = [(state, f"{name}: {one}", reason) for state, one, reason in found]
    good = outcome in ("OK", "EXPECTEDFAIL")
    if outcome == "SKIP" and not any(state == "skip" for state, _, _ in results):
        lines = text.strip().splitlines()
        results.append(("skip", name, lines[-1] if lines else ""))
    elif not good and outcome != "SKIP" and not any(state == "fail" for state, _, _ in results):
        results.append(("fail", name, f"{outcome.lower()}, exit code {test.get('returncode')}"))
    elif good and not results:
        results.append(("pass", name, ""))
    if not good and outcome != "SKIP":
        print(f"=== {name}: {outcome}")
        print("\n".join(text.strip().splitlines()[-80:]))
    return results


def main():
    kind, source, label, out = sys.argv[1:5]
    with open(source, encoding="utf-8", errors="replace") as file:
        if kind == "tap":
            text = file.read()
            results = tap_results(text)
            plan = re.search(r"^1\.\.(\d+)", text, re.MULTILINE)
            wanted = int(plan.group(1)) if plan else None
            if wanted is None or len(results) < wanted:
                results.append(("fail", f"only {len(results)} of {wanted or '?'} tests ran", ""))
        else:
            results = [one for line in file if line.strip() for one in program_results(json.loads(line))]
    with open(out, "w", encoding="utf-8") as file:
        for state, name, reason in results:
            clean = [" ".join(part.split()) for part in (name + label, reason)]
            file.write(f"{state}\t{clean[0]}\t{clean[1][:200]}\n")


main()
