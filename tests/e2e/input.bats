#!/usr/bin/env bats
# Bad input of one plane: one clear message that names the thing and the remedy, and healing by itself when the cause goes away.
# What all planes share is in outage.bats, a container that fails in crash.bats. What kflex and deploy/local/up say without a cluster is tested in tests/cli and tests/local.
# shellcheck disable=SC2154 # bats sets output, status, stderr

bats_require_minimum_version 1.5.0

setup_file() {
  load lib.bash
  e2e_setup_file
}

teardown_file() {
  load lib.bash
  planes_delete in-image in-quota
}

setup() { load lib.bash; }

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

@test "an image that is missing is named; another version heals" {
  kflex create in-image --timeout 1s || true # for the object alone
  hk delete controlplane in-image --timeout="$GONE_TIMEOUT"
  hk apply -f - <<YAML
apiVersion: $GROUP/v1alpha1
kind: ControlPlane
metadata: {name: in-image}
spec: {type: k8s, backend: shared, kubernetesVersion: v1.36.99}
YAML
  await_reason in-image Ready ImagePullFailed
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

@test "pods that a quota refuses are told" {
  plane_apply in-quota
  hk wait --for=create namespace/in-quota-system --timeout=30s
  hk create quota none -n in-quota-system --hard=pods=0
  hk delete pods -n in-quota-system --all --wait=false
  await_reason in-quota Ready PodsRefused
  says in-quota Ready 'exceeded quota: none'
  hk delete quota none -n in-quota-system
  hk rollout restart -n in-quota-system deployment/kube-apiserver || true
  ready in-quota
}
