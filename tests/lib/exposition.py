"""A strict reader of Prometheus' text format 0.0.4, with the naming rules that `promtool check metrics` lints. Standard
library only.

usage: exposition.py FILE…    prints what is wrong; exit code 1 where something is
"""
import re
import sys

NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*\Z")
SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)\Z")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"')
NOT_BASE = re.compile(r"_(ms|millis\w*|micros\w*|nanos\w*|minutes|hours|kb|kib|mb|mib|percent)(_|\Z)", re.I)


class Wrong(Exception):
    pass


def labels_of(text, line):
    """Text between the braces, as an ordered tuple; the whole of it must be labels."""
    found, at = [], 0
    while at < len(text):
        match = LABEL.match(text, at)
        if not match:
            raise Wrong(f"labels are malformed: {line}")
        found.append(match.groups())
        at = match.end()
        if at < len(text):
            if text[at] != ",":
                raise Wrong(f"labels are malformed: {line}")
            at += 1
    if len({name for name, _ in found}) != len(found):
        raise Wrong(f"a label stands twice: {line}")
    return tuple(found)


class Family:
    def __init__(self, name):
        self.name, self.help, self.type = name, None, None
        self.samples = {}  # (name, labels) -> value

    def check(self):
        if not self.help:
            raise Wrong(f"{self.name} has no HELP")
        if self.type not in ("counter", "gauge", "histogram"):
            raise Wrong(f"{self.name} has type {self.type}")
        if not self.samples:
            raise Wrong(f"{self.name} has no sample")
        if not NAME.match(self.name) or NOT_BASE.search(self.name):
            raise Wrong(f"{self.name} is no good name: base units only")
        if (self.type == "counter") != self.name.endswith("_total"):
            raise Wrong(f"{self.name} is a {self.type}: counters end in _total, others do not")
        if self.type == "counter" and any(v < 0 for v in self.samples.values()):
            raise Wrong(f"{self.name} is negative")
        if self.type == "histogram":
            self.check_histogram()

    def check_histogram(self):
        if not self.name.endswith(("_seconds", "_bytes")):
            raise Wrong(f"{self.name} is a histogram without unit")
        rows = {}
        for (name, labels), value in self.samples.items():
            rest = tuple(l for l in labels if l[0] != "le")
            bound = dict(labels).get("le")
            rows.setdefault(rest, {})[bound if name.endswith("_bucket") else name[len(self.name):]] = value
        for rest, row in rows.items():
            buckets = [(float(le), n) for le, n in row.items() if le not in ("_sum", "_count")]
            if [b for b, _ in buckets] != sorted(b for b, _ in buckets) or buckets[-1][0] != float("inf"):
                raise Wrong(f"{self.name}{rest}: bounds do not rise to +Inf")
            counts = [n for _, n in buckets]
            if counts != sorted(counts) or counts[-1] != row.get("_count") or "_sum" not in row:
                raise Wrong(f"{self.name}{rest}: buckets are not cumulative, or do not end in _count")


def family_name(name, families):
    for suffix in ("_bucket", "_sum", "_count"):
        base = name[:-len(suffix)]
        if name.endswith(suffix) and base in families and families[base].type == "histogram":
            return base
    return name


def parse(text):
    """name -> Family. Raises Wrong."""
    families, current = {}, None
    if not text.endswith("\n"):
        raise Wrong("the last line does not end")
    for line in text[:-1].split("\n"):
        comment = re.match(r"# (HELP|TYPE) (\S+) (.*)\Z", line)
        if comment:
            what, name, rest = comment.groups()
            if current is None or current.name != name:
                if name in families:
                    raise Wrong(f"{name} stands in two places")
                current = families[name] = Family(name)
            if current.samples or getattr(current, what.lower()) is not None:
                raise Wrong(f"{what} of {name} comes late or twice")
            setattr(current, what.lower(), rest)
            continue
        match = SAMPLE.match(line)
        if not match:
            raise Wrong(f"no sample: {line!r}")
        name, labels, value = match.group(1), labels_of(match.group(2) or "", line), float(match.group(3))
        if current is None or family_name(name, families) != current.name:
            raise Wrong(f"{name} does not stand below its HELP and TYPE")
        if (name, labels) in current.samples:
            raise Wrong(f"a series stands twice: {line}")
        current.samples[name, labels] = value
    for family in families.values():
        family.check()
    return families


def series(families):
    return {key for family in families.values() for key in family.samples}


def main():
    bad = 0
    for path in sys.argv[1:]:
        try:
            with open(path, encoding="utf-8") as file:
                parse(file.read())
        except Wrong as wrong:
            print(f"{path}: {wrong}")
            bad = 1
    return bad


if __name__ == "__main__":
    sys.exit(main())
