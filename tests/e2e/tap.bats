#!/usr/bin/env bats
# kflex tap from outside the cluster, and no secret of the cluster in anything it saw.
# shellcheck disable=SC2154 # bats sets output, status, stderr
# bats file_tags=alone

bats_require_minimum_version 1.5.0

setup_file() {
  load lib.bash
  e2e_setup_file
}

teardown_file() {
  load lib.bash
  planes_delete seen
}

setup() { load lib.bash; }

# Every value of every Secret that the cluster has or had, one a line, as it may appear in text: decoded; of several lines, each
# one that is long enough to tell (keys in PEM, tokens in kubeconfigs).
secret_lines() {
  hk get secrets -A -o json | python3 -c '
import base64, json, sys, urllib.parse
for secret in json.load(sys.stdin)["items"]:
    for name, value in (secret.get("data") or {}).items():
        if secret["metadata"]["name"].startswith("kubeflex-bus") and name in ("public.key", "server.key"):
            continue
        text = base64.b64decode(value).decode("utf-8", "replace").strip()
        if "://" in text.split("\n")[0]:
            print(urllib.parse.unquote(urllib.parse.urlsplit(text).password or ""))
        for line in text.splitlines():
            line = line.strip()
            if len(line) >= 20 and not line.startswith("-----") and not line.startswith(("server:", "name:")):
                print(line)
                print(line.split(": ", 1)[-1])
' | awk 'length >= 20' | sort -u
}

@test "tap shows a plane's life, from outside the cluster, without a secret" {
  tap_start "$BATS_FILE_TMPDIR/tap" --record "$BATS_FILE_TMPDIR/recording"
  kflex create seen --timeout "$READY_TIMEOUT"
  secret_lines >"$BATS_FILE_TMPDIR/secrets"
  kflex delete seen
  tap_stop
  grep -E 'watcher/[^ ]+ +bus +EVENT +reconcile\.k8s +seen ' "$BATS_FILE_TMPDIR/tap"
  grep -E 'bus +reconciler:k8s/[^ ]+ +TASK +reconcile\.k8s +seen +0 +[0-9]+ms' "$BATS_FILE_TMPDIR/tap"
  grep -E 'storage/[^ ]+ +bus +DONE +storage +seen .*StorageReady=True' "$BATS_FILE_TMPDIR/tap"
  grep -E 'DONE +reconcile\.k8s +seen .*Ready=True' "$BATS_FILE_TMPDIR/tap"
  grep -E 'DONE +storage +seen .*gone' "$BATS_FILE_TMPDIR/tap"
  [ "$(wc -l <"$BATS_FILE_TMPDIR/secrets")" -gt 20 ]
  run grep -aFf "$BATS_FILE_TMPDIR/secrets" "$BATS_FILE_TMPDIR/recording" "$BATS_FILE_TMPDIR/tap"
  [ "$status" -eq 1 ] || fail "a secret value was seen on the bus: $output"
}

@test "a recording is shown again, filtered" {
  run kflex tap --replay "$BATS_FILE_TMPDIR/recording" --kind DONE --from storage --json
  [ "$status" -eq 0 ]
  contains "$output" '"kind":"DONE"'
  lacks "$output" '"kind":"TASK"'
}

@test "tap figures name the services and their workers" {
  tap_start "$BATS_TEST_TMPDIR/stats" --stats --json
  tap_await "$BATS_TEST_TMPDIR/stats" 1 '"service":"storage","workers":1'
  tap_await "$BATS_TEST_TMPDIR/stats" 1 '"service":"reconcile.k8s","workers":1'
  tap_stop
}
