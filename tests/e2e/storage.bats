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

# One object after the other until file $1.stop is there: what kubectl streams over its one connection.
objects() {
  local n
  for ((n = 0; ; n++)); do
    [[ ! -e $1.stop ]] || break
    printf '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "streamed-%d"}}\n' "$n"
    sleep 0.05 # the load, 20 a second
  done
  echo "$n" >"$1.count"
}

# wrote OUTPUT: a writer that had every write answered.
wrote() {
  jq -r '"\(.written | length) written, \(.again) sent again, failed: \(.failed)"' "$1" >&3
  jq -e '.failed == [] and (.written | length) > 20' "$1" >/dev/null || fail "$(jq -c .failed "$1")"
  jq -r '.written[]' "$1" >>"$BATS_TEST_TMPDIR/names"
}

# Three clients while the pods are exchanged: over the ingress and over the Service, each write over a connection of its own, and
# kubectl, all over one.
@test "a new password is made on request; every write is answered, nothing is lost, and the old role goes" {
  local tmp=$BATS_TEST_TMPDIR writer=$BATS_TEST_DIRNAME/writer.py
  uid=$(plane_uid turning)
  before=$(roles_of "$uid" | grep '_[ab]$')
  hash=$(hk get secret -n turning-system kine-dsn -o 'jsonpath={.metadata.annotations.kflex\.kubestellar\.org/applied-hash}')
  address=$(hk get service -n turning-system turning -o 'jsonpath={.spec.clusterIP}')
  kubectl config view --context turning --raw --minify -o json >"$tmp/config"
  python3 "$writer" "$tmp/config" ingress --until "$tmp/w.stop" >"$tmp/ingress" 3>&- &
  writers=("$!")
  in_node python3 "$writer" --to "$address:443" "$tmp/config" service --until "$tmp/w.stop" >"$tmp/service" 3>&- &
  writers+=("$!")
  objects "$tmp/w" 3>&- | pk turning create -f - >"$tmp/streamed" 2>"$tmp/streamed.err" 3>&- &
  writers+=("$!")
  hk annotate controlplane turning kflex.kubestellar.org/rotate-storage-password=e2e
  for ((i = 0; i < 120; i++)); do
    after=$(roles_of "$uid" | grep '_[ab]$')
    [[ $after == "$before" || $after == *$'\n'* ]] || break
    sleep 1
  done
  touch "$tmp/w.stop"
  for pid in "${writers[@]}"; do wait "$pid" || true; done
  [ "$(wc -l <<<"$after")" -eq 1 ] || fail "roles: $after"
  [ "$after" != "$before" ] || fail "the role is still $before"
  [ "$hash" != "$(hk get secret -n turning-system kine-dsn -o 'jsonpath={.metadata.annotations.kflex\.kubestellar\.org/applied-hash}')" ]
  wrote "$tmp/ingress"
  wrote "$tmp/service"
  [ ! -s "$tmp/streamed.err" ] || fail "$(<"$tmp/streamed.err")"
  count=$(<"$tmp/w.count")
  [ "$(grep -c created "$tmp/streamed")" -eq "$count" ]
  for ((i = 0; i < count; i++)); do echo "streamed-$i"; done >>"$tmp/names"
  pk turning get configmaps -n default -o 'jsonpath={range .items[*]}{.metadata.name}{"\n"}{end}' | sort >"$tmp/there"
  [ -z "$(sort "$tmp/names" | comm -23 - "$tmp/there")" ]
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
