#!/usr/bin/env bats
# After all other files (bats takes them by name): no secret of any plane, nor of KubeFlex itself, was said anywhere in the run.
# shellcheck disable=SC2154 # bats sets output, status, stderr
# bats file_tags=alone

bats_require_minimum_version 1.5.0

setup_file() {
  load lib.bash
  e2e_setup_file
  # Something to look at where this file runs alone.
  kflex create told --timeout "$READY_TIMEOUT"
  kflex delete told
  processes_said >"$KFX_RECORD/processes"
}

setup() { load lib.bash; }

# What each process of KubeFlex tells over HTTP.
processes_said() {
  local ip
  for ip in $(hk get pods -n kubeflex-system -o 'jsonpath={.items[?(@.metadata.name!="postgres-postgresql-0")].status.podIP}'); do
    for path in healthz readyz metrics nowhere; do in_node curl -s --max-time 5 "http://$ip:8081/$path"; done
  done
}

recorder() { python3 -B "$REPO/tests/e2e/recorder.py" "$@"; }

@test "the record has logs, conditions, Events, metrics and secrets of this run" {
  uid=$(grep -o '"uid": "[0-9a-f-]*"' "$KFX_RECORD/controlplanes.json" | tail -n 1 | cut -d '"' -f 4)
  [ -n "$uid" ]
  for part in manager_0 reconciler_0 agent_0 bus_0; do
    [ -n "$(find "$KFX_RECORD/pods" -name "kubeflex-system_*$part.log" -size +0)" ] || fail "no log of $part"
  done
  [ -n "$(find "$KFX_RECORD/pods" -name 'told-system_kube-apiserver*kine_0.log' -size +0)" ]
  grep -q "uid=$uid" "$KFX_RECORD"/pods/kubeflex-system_*
  grep -q '"reason": "SyncSuccess"' "$KFX_RECORD/events.json"
  grep -q 'kubeflex_controlplane_ready_seconds_count' "$KFX_RECORD/processes"
  for name in kine-dsn k8s-certs admin-kubeconfig kubeflex-bus-watcher postgres-postgresql; do
    grep -q "\"name\": \"$name\"" "$KFX_RECORD/secrets.json" || fail "Secret $name was not seen"
  done
}

@test "a secret that is said is found, whatever its form" {
  folder=$BATS_TEST_TMPDIR/planted
  mkdir "$folder"
  cp "$KFX_RECORD/secrets.json" "$folder"
  password=$(secret_value kubeflex-system postgres-postgresql postgres-password)
  key=$(secret_value kubeflex-system postgres-postgresql-tls tls.key | sed -n 2p)
  curve=$(secret_value kubeflex-system kubeflex-bus secret.key)
  for secret in "$password" "$(printf %s "$password" | base64)" "$key" "$curve" 'postgresql://someone:pass@host/db'; do
    printf 'level=info msg="x %s y"\n' "$secret" >"$folder/said"
    run recorder check "$folder"
    [ "$status" -eq 1 ] || fail "not found: $output"
    lacks "$output" "$secret"
  done
  printf 'level=info msg="nothing"\n' >"$folder/said"
  recorder check "$folder"
}

@test "no secret stands in a log, metric, condition, Event or workload" {
  run recorder check "$KFX_RECORD"
  [ "$status" -eq 0 ] || fail "$output"
}

@test "no secret travels over the bus" {
  compgen -G "$KFX_RECORD/tap.[0-9]*" >/dev/null || fail 'the tap was not recorded'
  grep -qa told "$KFX_RECORD"/tap.[0-9]*
}
