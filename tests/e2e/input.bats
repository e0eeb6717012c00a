#!/usr/bin/env bats
# Bad input and absent things: one clear message that names the thing and the remedy, and healing by itself when the cause goes
# away. What kflex and deploy/local/up say without a cluster is tested in tests/cli and tests/local.
# shellcheck disable=SC2154 # bats sets output, status, stderr

bats_require_minimum_version 1.5.0

setup_file() {
  load lib.bash
  e2e_setup_file
}

teardown_file() {
  load lib.bash
  planes_delete in-config in-image in-crash in-quota in-storage
}

setup() { load lib.bash; }

system() { hk -n kubeflex-system "$@"; }

# await NAME TYPE REASON [SECONDS]
await() {
  hk wait "controlplane/$1" --for=jsonpath="{.status.conditions[?(@.type=='$2')].reason}=$3" --timeout="${4:-60}s" ||
    fail "$1: $2 is $(condition "$1" "$2" reason) ($(condition "$1" "$2" message)), not $3"
}

# says NAME TYPE WORD…
says() {
  local message word
  message=$(condition "$1" "$2" message)
  for word in "${@:3}"; do contains "$message" "$word"; done
}

ready() { hk wait --for=condition=Ready "controlplane/$1" --timeout="$READY_TIMEOUT"; }

@test "an unknown type is refused, with those that are known" {
  run plane_apply in-type nosuch
  [ "$status" -ne 0 ]
  contains "$output" '"k8s"'
  run --separate-stderr kflex create in-type --type nosuch
  [ "$status" -eq 1 ]
  contains "$stderr" 'Choose one of: k8s,'
  run hk get controlplane in-type
  [ "$status" -ne 0 ]
}

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
  await in-config Synced ReconcileSuccess
}

@test "an unusable value is named with its key; once it is mended, the plane is Synced again" {
  hk get controlplane in-config || plane_apply in-config
  await in-config Synced ReconcileSuccess
  port=$(system get configmap kubeflex-config -o 'jsonpath={.data.externalPort}')
  system patch configmap kubeflex-config --type merge -p '{"data":{"externalPort":"many"}}'
  await in-config Synced InvalidConfig || touch "$BATS_TEST_TMPDIR/failed"
  message=$(condition in-config Synced message)
  system patch configmap kubeflex-config --type merge -p "{\"data\":{\"externalPort\":\"$port\"}}"
  [ ! -e "$BATS_TEST_TMPDIR/failed" ]
  contains "$message" 'key externalPort is "many", but must be a port number'
  await in-config Synced ReconcileSuccess
}

@test "an image that is missing is named; another version heals" {
  kflex create in-image --timeout 1s || true # for the object alone
  hk delete controlplane in-image --timeout="$GONE_TIMEOUT"
  hk apply -f - <<YAML
apiVersion: $GROUP/v1alpha1
kind: ControlPlane
metadata: {name: in-image}
spec: {type: k8s, backend: shared, kubernetesVersion: v1.36.99}
YAML
  await in-image Ready ImagePullFailed
  says in-image Ready 'image registry.k8s.io/kube-apiserver:v1.36.99' 'spec.kubernetesVersion'
  hk wait --for=create event -n default --field-selector "reason=NotReady,involvedObject.name=in-image" --timeout=10s 2>/dev/null ||
    contains "$(hk get events -n default -o json)" 'kube-apiserver:v1.36.99'
  before=$(hk get controlplane in-image -o 'jsonpath={.metadata.resourceVersion}')
  # The kubelet goes on trying and changes its words; the condition does not.
  hk get pods -n in-image-system -l app=kube-apiserver -w --request-timeout=12s >/dev/null || true
  [ "$(hk get controlplane in-image -o 'jsonpath={.metadata.resourceVersion}')" = "$before" ]
  hk patch controlplane in-image --type merge -p '{"spec":{"kubernetesVersion":"v1.36.3"}}'
  ready in-image
}

@test "a container that ends again and again is named, with the command that shows its log" {
  plane_apply in-crash
  ready in-crash
  uid=$(plane_uid in-crash)
  login=$(secret_value in-crash-system kine-dsn endpoint)
  login=${login#*://}
  role=${login%%:*}
  password=${login#*:}
  password=${password%%@*}
  sql "alter role \"$role\" password 'another'"
  sql "select pg_terminate_backend(pid) from pg_stat_activity where usename = '$role'"
  hk delete pod -n in-crash-system -l app=kube-apiserver --wait=false
  await in-crash Ready ContainerFailing 90
  # Both containers end, the API server because kine does: it is a matter of the moment which of them is down when it is looked at.
  says in-crash Ready 'ends again and again' 'kubectl logs -n in-crash-system deploy/kube-apiserver -c k' '--previous'
  lacks "$(condition in-crash Ready message)" "$password"
  sql "alter role \"$role\" password '$password'"
  ready in-crash
  [ -n "$uid" ]
}

@test "pods that a quota refuses are told" {
  plane_apply in-quota
  hk wait --for=create namespace/in-quota-system --timeout=30s
  hk create quota none -n in-quota-system --hard=pods=0
  hk delete pods -n in-quota-system --all --wait=false
  await in-quota Ready PodsRefused
  says in-quota Ready 'exceeded quota: none'
  hk delete quota none -n in-quota-system
  hk rollout restart -n in-quota-system deployment/kube-apiserver || true
  ready in-quota
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
