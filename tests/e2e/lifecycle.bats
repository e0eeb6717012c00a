#!/usr/bin/env bats
# Planes without kflex, deletion to the last trace, refused names and types.
# shellcheck disable=SC2154 # bats sets output, status, stderr

bats_require_minimum_version 1.5.0

setup_file() {
  load lib.bash
  e2e_setup_file
}

setup() { load lib.bash; }

@test "kubectl apply of a ControlPlane works without kflex" {
  plane_apply by-hand
  hk wait --for=condition=Ready controlplane/by-hand --timeout="$READY_TIMEOUT"
  secret_value by-hand-system admin-kubeconfig kubeconfig >"$BATS_TEST_TMPDIR/kubeconfig"
  kubectl --kubeconfig "$BATS_TEST_TMPDIR/kubeconfig" get namespaces
  hk delete controlplane by-hand --timeout="$GONE_TIMEOUT"
  hk wait --for=delete namespace/by-hand-system --timeout="$GONE_TIMEOUT"
}

@test "delete leaves nothing: object, namespace, database, roles, context" {
  kflex create going --timeout "$READY_TIMEOUT"
  uid=$(plane_uid going)
  [ -n "$(databases_of "$uid")" ]
  run kflex delete going
  [ "$status" -eq 0 ]
  contains "$output" 'Control plane going is gone'
  run hk get controlplane,namespace -o name
  lacks "$output" going
  [ -z "$(databases_of "$uid")" ]
  [ -z "$(roles_of "$uid")" ]
  run kubectl config view
  lacks "$output" going
  [ "$(kflex ctx get)" = "$HOST_CONTEXT" ]
  [ -z "$(hk get clusterroles,clusterrolebindings -l kflex.kubestellar.org/controlplane=going -o name)" ]
}

@test "a name can be used again at once, with fresh data" {
  kflex create again --timeout "$READY_TIMEOUT"
  pk again create namespace old
  first=$(plane_uid again)
  kflex delete again
  kflex create again --timeout "$READY_TIMEOUT"
  [ "$(plane_uid again)" != "$first" ]
  run pk again get namespaces -o name
  lacks "$output" namespace/old
  kflex delete again
}

@test "a plane deleted while it is being made goes too" {
  plane_apply early
  uid=$(plane_uid early)
  hk delete controlplane early --timeout="$GONE_TIMEOUT"
  hk wait --for=delete namespace/early-system --timeout="$GONE_TIMEOUT"
  [ -z "$(databases_of "$uid")" ]
}

@test "planes deleted at any moment of their making go, and leave nothing" {
  local name uids=() names=(any1 any2 any3 any4)
  for name in "${names[@]}"; do
    plane_apply "$name"
    uids+=("$(plane_uid "$name")")
    sleep "$((RANDOM % 2)).$((RANDOM % 10))" # the moment is what is tried
    hk delete controlplane "$name" --wait=false
  done
  hk wait --for=delete "${names[@]/#/controlplane/}" "${names[@]/%/-system}" --timeout="$GONE_TIMEOUT" 2>/dev/null || true
  for name in "${names[@]}"; do
    hk wait --for=delete "controlplane/$name" "namespace/$name-system" --timeout="$GONE_TIMEOUT"
    [ -z "$(hk get clusterroles,clusterrolebindings -l "kflex.kubestellar.org/controlplane=$name" -o name)" ]
  done
  for name in "${uids[@]}"; do
    [ -z "$(databases_of "$name")$(roles_of "$name")" ]
  done
}

@test "a plane whose database and roles are gone can be deleted" {
  plane_apply robbed
  uid=$(plane_uid robbed)
  await_reason robbed StorageReady DatabaseReady
  database=$(databases_of "$uid")
  roles=$(roles_of "$uid")
  sql "drop database \"$database\" with (force)"
  for role in $roles; do sql "drop role \"$role\""; done
  hk delete controlplane robbed --wait=false
  hk wait --for=delete controlplane/robbed namespace/robbed-system --timeout="$GONE_TIMEOUT"
  [ -z "$(databases_of "$uid")$(roles_of "$uid")" ]
}

@test "a type that there is not is refused by the API" {
  run plane_apply unknown martian
  [ "$status" -ne 0 ]
  contains "$output" 'spec.type'
}

@test "bad names are refused by kflex, with the rule" {
  for name in Bad a_b a.b 1cp kube kubeflex "$(printf 'x%.0s' {1..57})"; do
    run --separate-stderr kflex create "$name"
    [ "$status" -eq 1 ]
    [[ $stderr == 'Error: '*name* ]] || fail "$name: $stderr"
    run hk get controlplane "$name"
    [ "$status" -ne 0 ]
  done
}

@test "bad names are refused by the API server too" {
  for name in a.b 1cp kube kubeflex "$(printf 'x%.0s' {1..57})"; do
    run plane_apply "$name"
    [ "$status" -ne 0 ] || fail "$name was taken"
    contains "$output" name
  done
}

@test "a namespace that is somebody else's is left alone, also at deletion" {
  hk create namespace taken-system
  run --separate-stderr kflex create taken
  [ "$status" -eq 1 ]
  contains "$stderr" NameConflict
  kflex delete taken
  [ "$(hk get namespace taken-system -o 'jsonpath={.status.phase}')" = Active ]
  hk delete namespace taken-system --timeout="$GONE_TIMEOUT"
}
