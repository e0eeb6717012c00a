#!/usr/bin/env bats
# What all planes need is away or wrong: the condition of each says what it is and what to do, and heals by itself.
# shellcheck disable=SC2154 # bats sets output, status, stderr
# bats file_tags=alone

bats_require_minimum_version 1.5.0

setup_file() {
  load lib.bash
  e2e_setup_file
}

teardown_file() {
  load lib.bash
  planes_delete in-config in-storage
}

setup() { load lib.bash; }

system() { hk -n kubeflex-system "$@"; }

@test "a missing ConfigMap is named; once it is back, the plane is made" {
  system get configmap kubeflex-config -o json >"$BATS_TEST_TMPDIR/config.json"
  system delete configmap kubeflex-config
  run --separate-stderr kflex create in-config
  python3 - "$BATS_TEST_TMPDIR/config.json" <<'PYTHON' | system create -f -
import json, sys
config = json.load(open(sys.argv[1], encoding="utf-8"))
config["metadata"] = {key: config["metadata"][key] for key in ("name", "namespace", "labels") if key in config["metadata"]}
print(json.dumps(config))
PYTHON
  [ "$status" -eq 1 ]
  contains "$stderr" 'InvalidConfig: ConfigMap kubeflex-config does not exist in namespace kubeflex-system: create it'
  await_reason in-config Synced ReconcileSuccess
}

@test "an unusable value is named with its key; once it is mended, the plane is Synced again" {
  hk get controlplane in-config || plane_apply in-config
  await_reason in-config Synced ReconcileSuccess
  port=$(system get configmap kubeflex-config -o 'jsonpath={.data.externalPort}')
  system patch configmap kubeflex-config --type merge -p '{"data":{"externalPort":"many"}}'
  await_reason in-config Synced InvalidConfig || touch "$BATS_TEST_TMPDIR/failed"
  message=$(condition in-config Synced message)
  system patch configmap kubeflex-config --type merge -p "{\"data\":{\"externalPort\":\"$port\"}}"
  [ ! -e "$BATS_TEST_TMPDIR/failed" ]
  contains "$message" 'key externalPort is "many", but must be a port number'
  await_reason in-config Synced ReconcileSuccess
}

# Both outages in one, since each is written only after 30 s.
@test "Postgres away, then its password wrong: each is told, kflex shows it, and both heal" {
  for secret in postgres-postgresql kubeflex-storage-login; do
    system get secret "$secret" -o json >"$BATS_TEST_TMPDIR/$secret.json"
  done
  system scale statefulset postgres-postgresql --replicas=0
  system wait --for=delete pod/postgres-postgresql-0 --timeout=60s
  kflex create in-storage --timeout 45s >"$BATS_TEST_TMPDIR/out" 2>"$BATS_TEST_TMPDIR/err" || true
  down=$(condition in-storage StorageReady reason)/$(condition in-storage StorageReady message)
  # The agents' own password too: with the superuser's they would put it right by themselves.
  system patch secret postgres-postgresql --type merge -p '{"stringData":{"postgres-password":"not-the-right-one"}}'
  system patch secret kubeflex-storage-login --type merge -p '{"stringData":{"password":"nor-this-one-at-all"}}'
  system scale statefulset postgres-postgresql --replicas=1
  hk wait controlplane/in-storage --timeout=60s \
    --for=jsonpath='{.status.conditions[?(@.type=="StorageReady")].reason}'=PostgresUnavailable || true
  wrong=''
  for _ in {1..60}; do
    wrong=$(condition in-storage StorageReady message)
    [[ $wrong != *'does not fit'* ]] || break
    system wait --for=condition=Ready pod/postgres-postgresql-0 --timeout=1s 2>/dev/null || true
    sleep 0.5 # no condition of an object tells that its message changed
  done
  for secret in postgres-postgresql kubeflex-storage-login; do
    data=$(python3 -c 'import json, sys; print(json.dumps({"data": json.load(sys.stdin)["data"]}))' <"$BATS_TEST_TMPDIR/$secret.json")
    system patch secret "$secret" --type merge -p "$data"
  done
  contains "$down" 'PostgresUnavailable/the storage agent cannot use Postgres'
  contains "$down" 'StatefulSet postgres-postgresql in namespace kubeflex-system'
  contains "$(<"$BATS_TEST_TMPDIR/err")" 'Waiting: StorageReady is False (PostgresUnavailable:'
  contains "$(<"$BATS_TEST_TMPDIR/err")" 'is not ready after 45s: StorageReady is False'
  contains "$wrong" 'the password in Secret kubeflex-system/postgres-postgresql does not fit the server: put the right one'
  lacks "$wrong" not-the-right-one
  ready in-storage
}
