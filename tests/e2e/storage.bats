#!/usr/bin/env bats
# The shared Postgres as its operator sees it: a new password for a plane that is in use, what planes that are gone left behind.
# shellcheck disable=SC2154 # bats sets output, status, stderr
# bats file_tags=alone

bats_require_minimum_version 1.5.0

setup_file() {
  load lib.bash
  e2e_setup_file
  kflex create turning --timeout "$READY_TIMEOUT"
}

teardown_file() {
  load lib.bash
  planes_delete turning
}

setup() { load lib.bash; }

agent() { hk exec -n kubeflex-system deploy/kubeflex-storage-agent -- kubeflex-storage-agent "$@"; }

# Writes one object after the other, each over a connection of its own, until the file $1.stop is there. Failures to $1.
keep_writing() {
  local n
  for ((n = 0; ; n++)); do
    [[ ! -e $1.stop ]] || break
    pk turning create configmap "written-$n" --request-timeout=20s >/dev/null 2>>"$1" || echo "$(date +%T) written-$n" >>"$1"
  done
  echo "$n" >"$1.count"
}

@test "a new password is made on request; nothing is lost, and the old role goes" {
  uid=$(plane_uid turning)
  before=$(roles_of "$uid" | grep '_[ab]$')
  hash=$(hk get secret -n turning-system kine-dsn -o 'jsonpath={.metadata.annotations.kflex\.kubestellar\.org/applied-hash}')
  keep_writing "$BATS_TEST_TMPDIR/writes" 3>&- &
  writer=$!
  hk annotate controlplane turning kflex.kubestellar.org/rotate-storage-password=e2e
  for ((i = 0; i < 120; i++)); do
    after=$(roles_of "$uid" | grep '_[ab]$')
    [[ $after == "$before" || $after == *$'\n'* ]] || break
    sleep 1
  done
  touch "$BATS_TEST_TMPDIR/writes.stop"
  wait "$writer"
  [ "$(wc -l <<<"$after")" -eq 1 ] || fail "roles: $after"
  [ "$after" != "$before" ] || fail "the role is still $before"
  [ "$hash" != "$(hk get secret -n turning-system kine-dsn -o 'jsonpath={.metadata.annotations.kflex\.kubestellar\.org/applied-hash}')" ]
  [ ! -s "$BATS_TEST_TMPDIR/writes" ] || fail "$(<"$BATS_TEST_TMPDIR/writes")"
  count=$(<"$BATS_TEST_TMPDIR/writes.count")
  [ "$count" -gt 5 ]
  [ "$(pk turning get configmaps -o name | grep -c /written-)" -eq "$count" ]
  hk wait --for=condition=StorageReady controlplane/turning --timeout="$READY_TIMEOUT"
}

@test "what planes that are gone left behind is listed, and dropped when named" {
  name=left_0123456789abcdef0123456789abcdef
  sql "create role $name nologin role kubeflex_storage" || true # of an earlier run
  sql "create database $name owner $name" || true
  run agent --orphans
  [ "$status" -eq 0 ] || fail "$output"
  contains "$output" "default/$name "
  lacks "$output" "default/$(databases_of "$(plane_uid turning)")"
  run agent --remove-orphan "default/$(databases_of "$(plane_uid turning)")"
  [ "$status" -ne 0 ]
  agent --remove-orphan "default/$name"
  [ -z "$(sql "select rolname from pg_roles where rolname like 'left%' union select datname from pg_database where datname like 'left%'")" ]
}
