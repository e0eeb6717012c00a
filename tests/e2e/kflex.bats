#!/usr/bin/env bats
# kflex with a real cluster: from any current context, and what it does to the kubeconfig.
# shellcheck disable=SC2154 # bats sets output, status, stderr

bats_require_minimum_version 1.5.0

setup_file() {
  load lib.bash
  e2e_setup_file
  kflex create ctl --timeout "$READY_TIMEOUT"
}

teardown_file() {
  load lib.bash
  planes_delete ctl
}

setup() {
  load lib.bash
  kubectl config use-context "$HOST_CONTEXT"
}

@test "list works from any current context" {
  for context in "$HOST_CONTEXT" ctl; do
    kubectl config use-context "$context"
    run --separate-stderr kflex list
    [ "$status" -eq 0 ]
    [ "${lines[0]}" = 'Control Planes:' ]
    contains "$output" ctl
    [ -z "$stderr" ]
  done
  kubectl config unset current-context
  run kflex list
  [ "$status" -eq 0 ]
  contains "$output" ctl
}

@test "create and delete work from a plane's context" {
  kubectl config use-context ctl
  kflex create from-plane --timeout "$READY_TIMEOUT"
  kubectl config use-context ctl
  kflex delete from-plane
  [ "$(kflex ctx get)" = ctl ]
}

@test "ctx switches to a plane and back" {
  kflex ctx ctl
  [ "$(kflex ctx get)" = ctl ]
  [ "$(kubectl config current-context)" = ctl ]
  kflex ctx
  [ "$(kflex ctx get)" = "$HOST_CONTEXT" ]
}

@test "ctx loads a plane that the kubeconfig lacks, and tags it" {
  kubectl config delete-context ctl
  run kflex ctx ctl
  [ "$status" -eq 0 ]
  contains "$output" 'trying to load from server'
  pk ctl get namespaces
  contains "$(kflex ctx list)" 'yes'
}

@test "ctx of a plane that is not there fails and changes nothing" {
  before=$(kubectl config view --raw)
  run --separate-stderr kflex ctx nowhere
  [ "$status" -eq 1 ]
  contains "$stderr" 'control plane not found on server: nowhere'
  [ "$(kubectl config view --raw)" = "$before" ]
}

@test "create of a plane that exists says what to do" {
  run --separate-stderr kflex create ctl
  [ "$status" -eq 1 ]
  contains "$stderr" 'exists already'
  contains "$stderr" 'kflex ctx ctl'
}

@test "delete of a plane that is not there fails" {
  run --separate-stderr kflex delete nowhere
  [ "$status" -eq 1 ]
  contains "$stderr" 'control plane not found on server: nowhere'
}

@test "get, describe and list show a plane to people and programs" {
  [ "$(kflex get ctl -o json | jq -r '.status.conditions[] | select(.type == "Ready").status')" = True ]
  [ "$(kflex list -o json | jq -r '.items[].metadata.name')" = "$(kflex list -o name)" ]
  kflex get ctl -o yaml | kubectl create --dry-run=client -f - -o name
  contains "$(kflex list -o wide)" v1.36.3
  run --separate-stderr kflex describe ctl
  [ "$status" -eq 0 ]
  [ -z "$stderr" ]
  contains "$output" 'Events:'
  contains "$output" ReconcileSuccess
  contains "$(kflex __complete get ct)" ctl
}

@test "create takes a file, delete takes several planes" {
  kflex get ctl -o yaml | sed 's/name: ctl$/name: ctl-a/' | kflex create -f - --no-wait
  kflex create ctl-b --no-wait
  kubectl wait --for=condition=Ready "--timeout=$READY_TIMEOUT" controlplane/ctl-a controlplane/ctl-b
  kflex delete ctl-a ctl-b
  [ -z "$(kubectl get namespaces ctl-a-system ctl-b-system --ignore-not-found -o name)" ]
}

@test "logs and events of a plane" {
  run --separate-stderr kflex logs ctl --tail 2000
  [ "$status" -eq 0 ]
  contains "$output" 'Serving securely'
  [ "$(kflex logs ctl -c kine --tail 1 | wc -l)" -eq 1 ]
  contains "$(kflex events ctl)" Pod/kube-apiserver
}

@test "doctor finds the cluster in order, upgrade would change it to ours" {
  run kflex doctor
  printf '%s\n' "$output"
  [ "$status" -eq 0 ]
  contains "$output" 'kind ControlPlane: served as this kflex knows it'
  run kflex upgrade --dry-run
  printf '%s\n' "$output"
  [ "$status" -eq 0 ]
  contains "$output" 'Nothing was changed'
}

@test "version tells ours and the hosting cluster's" {
  run kflex version
  [ "$status" -eq 0 ]
  [[ ${lines[0]} == 'Kubeflex version: v'* ]]
  [ "${lines[1]}" = 'Kubernetes version: v1.36.3' ]
}

@test "an unknown command is a usage error" {
  run --separate-stderr kflex adapt something
  [ "$status" -eq 1 ]
  [[ $stderr == 'Error: unknown command "adapt"'* ]]
  [ -z "$output" ]
}

@test "the user's own entries in the kubeconfig stay" {
  kubectl config set-cluster mine --server=https://192.0.2.1
  kubectl config set-context mine --cluster=mine --user=me
  kflex ctx -o ctl
  kflex ctx
  [ "$(kubectl config view -o 'jsonpath={.clusters[?(@.name=="mine")].cluster.server}')" = https://192.0.2.1 ]
  [ "$(kubectl config view -o 'jsonpath={.contexts[?(@.name=="mine")].context.user}')" = me ]
}

@test "kubectl and kflex understand the same kubeconfig of several files" {
  printf 'apiVersion: v1\nkind: Config\n' >"$BATS_TEST_TMPDIR/first"
  KUBECONFIG=$BATS_TEST_TMPDIR/first:$KUBECONFIG
  export KUBECONFIG
  run kflex list
  [ "$status" -eq 0 ]
  kflex ctx ctl
  [ "$(kubectl config current-context)" = ctl ]
  kflex ctx
}
