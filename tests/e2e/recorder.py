#!/usr/bin/env python3
"""Keeps what a run of the end-to-end tests says to anybody, and every secret it knew meanwhile: zz_secrets.bats compares the
two. Standard library only.

usage: recorder.py record FOLDER LOGS    records until SIGTERM (KUBECONFIG, kubectl and kflex on PATH; LOGS: where the node keeps
                                         the pods' logs)
       recorder.py check FOLDER          prints where a secret was said (never the secret); exit code 1 where one was

FOLDER gets secrets.json, controlplanes.json, events.json, workloads.json (watches, from the first to the last version of each
object), pods/ (hard links: a log stays when its pod goes), tap (a recording, where kflex has the command) and whatever else the
tests put there to be checked.
"""
import base64
import glob
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading

WATCHES = {"secrets": "secrets", "controlplanes": "controlplanes.tenancy.kflex.kubestellar.org", "events": "events",
           "workloads": "deployments,statefulsets,configmaps"}
# Not secret: certificates, public keys, names. server.key is the bus's public key.
PUBLIC = re.compile(r"(\.crt|\.pub|^public\.key|^server\.key|^username|^namespace)$")
KEY_DATA = re.compile(rb"(?:client-key-data|token|password): *['\"]?([A-Za-z0-9+/=._-]{16,})")
IN_DSN = re.compile(rb"://[^:/@\s]+:([^@\s]+)@")
# What no line may look like, whatever the value.
SHAPES = (rb"PRIVATE KEY-----", rb"eyJhbGciOi", rb"postgres(ql)?://[^:/@ ]+:[^@ ]+@")
SHORTEST = 12  # shorter values (a port, a word) would be found anywhere


def keep(stop, name, path):
    """Watches until told to stop, again and again: a watch ends with the API server."""
    with open(path, "ab") as out:
        while not stop.is_set():
            child = subprocess.Popen(["kubectl", "get", WATCHES[name], "-A", "-o", "json", "--watch"], stdout=out,
                                     stderr=subprocess.DEVNULL)
            while child.poll() is None and not stop.wait(0.2):
                pass
            child.terminate()
            child.wait()
            stop.wait(0.5)


def keep_tap(stop, folder):
    if subprocess.run(["kflex", "tap", "--help"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode:
        return
    while not stop.is_set():
        number = len(glob.glob(f"{folder}/tap.[0-9]*")) + 1
        with open(f"{folder}/tap.out", "ab") as out:
            child = subprocess.Popen(["kflex", "tap", "--record", f"{folder}/tap.{number}"], stdout=out, stderr=out)
            while child.poll() is None and not stop.wait(0.2):
                pass
            child.terminate()
            child.wait()
        stop.wait(1)


def link_logs(logs, folder):
    for pod, _, files in os.walk(logs):
        for name in files:
            place = os.path.join(folder, os.path.relpath(pod, logs).replace("/", "_") + "_" + name)
            if not os.path.lexists(place):
                try:
                    os.link(os.path.join(pod, name), place)
                except OSError:
                    pass  # it is gone already


def record(folder, logs):
    os.makedirs(f"{folder}/pods", mode=0o700, exist_ok=True)
    os.chmod(folder, 0o700)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threads = [threading.Thread(target=keep, args=(stop, name, f"{folder}/{name}.json")) for name in WATCHES]
    threads.append(threading.Thread(target=keep_tap, args=(stop, folder)))
    for thread in threads:
        thread.start()
    while not stop.wait(0.3):
        link_logs(logs, f"{folder}/pods")
    link_logs(logs, f"{folder}/pods")
    for thread in threads:
        thread.join()


def objects(path):
    decoder, at = json.JSONDecoder(), 0
    with open(path, encoding="utf-8") as file:
        text = file.read()
    while at < len(text):
        while at < len(text) and text[at].isspace():
            at += 1
        if at == len(text):
            break
        try:
            item, at = decoder.raw_decode(text, at)
        except ValueError:  # cut short by the end of a watch
            at = text.find("\n{", at) + 1 or len(text)
            continue
        yield from item["items"] if item.get("kind", "").endswith("List") else [item]


def ours(secret):
    meta = secret["metadata"]
    return meta["namespace"] == "kubeflex-system" or "kflex.kubestellar.org/controlplane" in meta.get("labels", {})


def forms(value):
    """How a value could be said: as it is, in base64; of one with lines each line that is long; what is secret inside it."""
    found = {value.strip(), base64.b64encode(value)}
    found.update(line.strip() for line in value.splitlines() if len(line.strip()) >= 40 and b"-----" not in line)
    for inner in KEY_DATA.findall(value) + IN_DSN.findall(value):
        found.add(inner)
    return {form for form in found if len(form) >= SHORTEST and b"\n" not in form}


def known_secrets(folder):
    """form -> "namespace/name/key", for every version that was seen."""
    known = {}
    for secret in objects(f"{folder}/secrets.json"):
        if not ours(secret):
            continue
        meta = secret["metadata"]
        for key, value in (secret.get("data") or {}).items():
            raw = base64.b64decode(value)
            # Addresses of an etcd are told where one does not answer; with a login in them they would be a secret.
            if PUBLIC.search(key) or (key == "endpoints" and b"@" not in raw):
                continue
            # Of a kubeconfig only the credentials are secret: the rest is certificates and names.
            parts = set(KEY_DATA.findall(raw)) if b"client-key-data" in raw else forms(raw)
            for form in parts | {base64.b64decode(p) for p in parts if b"client-key-data" in raw and not p.startswith(b"ey")}:
                for line in forms(form):
                    known[line] = f"{meta['namespace']}/{meta['name']}/{key}"
    return known


def said_in(folder):
    for place, _, files in os.walk(folder):
        for name in files:
            if name != "secrets.json":
                yield os.path.join(place, name)


def found(how, patterns, files):
    """(file, what was found in it), each once. One grep for all files: to read thousands of patterns takes it a while."""
    hits = subprocess.run(["grep", "-aHZ", how, "-f", patterns, "--", *files], stdout=subprocess.PIPE, check=False).stdout
    pairs = {tuple(line.split(b"\0", 1)) for line in hits.splitlines() if b"\0" in line}
    return sorted((os.fsdecode(path), hit) for path, hit in pairs)


def check(folder):
    known = known_secrets(folder)
    files = list(said_in(folder))
    bad = 0
    with tempfile.NamedTemporaryFile() as patterns:
        patterns.write(b"\n".join(known) + b"\n")
        patterns.flush()
        for path, hit in found("-oF", patterns.name, files):
            print(f"{path}: says {known.get(hit, 'a secret')}")
            bad = 1
        patterns.truncate(0)
        patterns.seek(0)
        patterns.write(b"\n".join(SHAPES) + b"\n")
        patterns.flush()
        for path, _ in found("-oE", patterns.name, files):
            print(f"{path}: has something like a key, token or login")
            bad = 1
    size = sum(os.path.getsize(path) for path in files)
    print(f"{len(known)} forms of secrets, {len(files)} files, {size} bytes")
    return bad


if __name__ == "__main__":
    if sys.argv[1:2] == ["record"] and len(sys.argv) == 4:
        record(sys.argv[2], sys.argv[3])
    elif sys.argv[1:2] == ["check"] and len(sys.argv) == 3:
        sys.exit(check(sys.argv[2]))
    else:
        sys.exit(__doc__)
