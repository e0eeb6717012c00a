#!/usr/bin/env bats
# Control planes of type host: the hosting cluster itself, with a service account of their own. tests/types has more, without a
# node.
# shellcheck disable=SC2154 # bats sets output, status, stderr
# bats file_tags=alone

bats_require_minimum_version 1.5.0

setup_file() {
  load lib.bash
  e2e_setup_file
  kflex create h1 --type host --timeout "$READY_TIMEOUT" >"$BATS_FILE_TMPDIR/create.out" 2>"$BATS_FILE_TMPDIR/create.err"
}

teardown_file() {
  load lib.bash
  config_unset hostServerURL hostTokens
  planes_delete h1 h2 h3
}

setup() { load lib.bash; }

@test "create succeeds and goes there (B-12)" {
  [ ! -s "$BATS_FILE_TMPDIR/create.err" ] || fail "$(<"$BATS_FILE_TMPDIR/create.err")"
  contains "$(<"$BATS_FILE_TMPDIR/create.out")" 'Switched to context h1'
  [ "$(kflex ctx get)" = h1 ]
  [ "$(pk h1 auth whoami -o 'jsonpath={.status.userInfo.username}')" = system:serviceaccount:h1-system:h1 ]
  pk h1 auth can-i '*' '*'
  kflex ctx
  kflex ctx h1
  [ "$(kflex ctx get)" = h1 ]
}

@test "status: Synced, Ready, and no key that is not there (B-25)" {
  [ "$(condition h1 Synced status)/$(condition h1 Synced reason)" = True/ReconcileSuccess ]
  [ "$(condition h1 Ready status)/$(condition h1 Ready reason)" = True/Available ]
  [ "$(hk get controlplane h1 -o 'jsonpath={.status.secretRef}')" = \
    '{"inClusterKey":"kubeconfig-incluster","name":"admin-kubeconfig","namespace":"h1-system"}' ]
  [ "$(secret_keys h1-system admin-kubeconfig)" = 'kubeconfig-incluster ' ]
}

@test "there is no Service, Ingress, Route, workload or database" {
  [ -z "$(hk get services,ingresses,deployments,statefulsets,pods,jobs -n h1-system -o name)" ]
  [ -z "$(databases_of "$(plane_uid h1)")" ]
}

@test "every object is the plane's (B-23)" {
  uid=$(plane_uid h1)
  for object in namespace/h1-system "serviceaccount/h1 -n h1-system" "secret/h1 -n h1-system" \
    "secret/admin-kubeconfig -n h1-system" clusterrolebinding/h1-binding; do
    # shellcheck disable=SC2086 # words
    [ "$(hk get $object -o 'jsonpath={.metadata.ownerReferences[0].uid}/{.metadata.ownerReferences[0].controller}')" = "$uid/true" ] ||
      fail "$object"
  done
}

@test "in the cluster a pod reaches it with kubeconfig-incluster" {
  hk delete pod -n h1-system e2e-client --ignore-not-found --timeout="$GONE_TIMEOUT"
  hk apply -f - <<YAML
apiVersion: v1
kind: Pod
metadata: {name: e2e-client, namespace: h1-system}
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  containers:
  - name: kubectl
    image: $KUBECTL_IMAGE
    imagePullPolicy: IfNotPresent
    args: [--kubeconfig=/plane/kubeconfig-incluster, get, namespaces]
    volumeMounts: [{name: plane, mountPath: /plane, readOnly: true}]
  volumes:
  - name: plane
    secret: {secretName: admin-kubeconfig}
YAML
  hk wait -n h1-system pod/e2e-client --for=jsonpath='{.status.phase}'=Succeeded --timeout=60s ||
    fail "$(hk logs -n h1-system e2e-client)"
  hk delete pod -n h1-system e2e-client --timeout="$GONE_TIMEOUT"
}

@test "several live side by side, each with its own account" {
  kflex create h2 --type host --timeout "$READY_TIMEOUT"
  [ "$(pk h2 auth whoami -o 'jsonpath={.status.userInfo.username}')" = system:serviceaccount:h2-system:h2 ]
  [ "$(pk h1 auth whoami -o 'jsonpath={.status.userInfo.username}')" = system:serviceaccount:h1-system:h1 ]
  kflex delete h2
  pk h1 get namespaces
  [ -z "$(hk get clusterrolebinding h2-binding --ignore-not-found -o name)" ]
}

@test "hostServerURL gives the key for users outside, and its removal takes it away" {
  config_set hostServerURL "$(kubectl config view --raw -o "jsonpath={.clusters[?(@.name=='$HOST_CONTEXT')].cluster.server}")"
  hk wait --for=jsonpath='{.status.secretRef.key}'=kubeconfig controlplane/h1 --timeout=20s
  secret_value h1-system admin-kubeconfig kubeconfig >"$BATS_TEST_TMPDIR/kubeconfig"
  kubectl --kubeconfig "$BATS_TEST_TMPDIR/kubeconfig" get namespaces
  kflex ctx -o h1
  pk h1 get namespaces
  config_unset hostServerURL
  within 20 no_outside_key h1
  [ "$(secret_keys h1-system admin-kubeconfig)" = 'kubeconfig-incluster ' ]
}

no_outside_key() { [ -z "$(hk get controlplane "$1" -o 'jsonpath={.status.secretRef.key}')" ]; }

works_again() { secret_value h1-system admin-kubeconfig kubeconfig-incluster >"$BATS_TEST_TMPDIR/in" && user_works; }
user_works() {
  [ "$(kubectl --kubeconfig "$BATS_TEST_TMPDIR/in" --server "$(kubectl config view --raw -o "jsonpath={.clusters[?(@.name=='$HOST_CONTEXT')].cluster.server}")" \
    auth whoami -o 'jsonpath={.status.userInfo.username}')" = system:serviceaccount:h1-system:h1 ]
}

@test "what is deleted or edited comes back within 5 s, and the kubeconfig works" {
  drift h1
  within 10 works_again
  hk wait --for=condition=Ready controlplane/h1 --timeout=20s
}

@test "type cannot change" {
  run hk patch controlplane h1 --type merge -p '{"spec":{"type":"k8s"}}'
  [ "$status" -ne 0 ]
  contains "$output" 'type cannot change'
}

@test "a binding of that name that is somebody else's is left alone" {
  hk create clusterrolebinding h3-binding --clusterrole=view --user=nobody
  run --separate-stderr kflex create h3 --type host --timeout "$READY_TIMEOUT"
  [ "$status" -eq 1 ]
  contains "$stderr" NameConflict
  kflex delete h3
  [ "$(hk get clusterrolebinding h3-binding -o 'jsonpath={.roleRef.name}')" = view ]
  hk delete clusterrolebinding h3-binding
}

@test "bound tokens expire, are renewed when due, and the one that never expires is gone" {
  config_set hostTokens bound
  within 20 has_expiry
  within 20 works_again
  [ -z "$(hk get secret -n h1-system h1 --ignore-not-found -o name)" ]
  before=$(secret_value h1-system admin-kubeconfig kubeconfig-incluster)
  # What a worker finds that comes back after the token became due.
  hk annotate secret -n h1-system admin-kubeconfig --overwrite kflex.kubestellar.org/token-renew-after=2026-01-01T00:00:00Z
  renewed() { [ "$(secret_value h1-system admin-kubeconfig kubeconfig-incluster)" != "$before" ]; }
  within 5 renewed
  within 10 works_again
  config_unset hostTokens
  hk wait --for=create secret/h1 -n h1-system --timeout=20s
  within 20 works_again
}

has_expiry() { [ -n "$(hk get secret -n h1-system admin-kubeconfig -o 'jsonpath={.metadata.annotations.kflex\.kubestellar\.org/token-expires}')" ]; }

@test "a restart of all our programs changes nothing" {
  before=$(hk get secret,serviceaccount -n h1-system -o 'jsonpath={.items[*].metadata.resourceVersion}')
  hk rollout restart -n kubeflex-system deployment
  hk rollout status -n kubeflex-system deployment --timeout=90s
  hk wait --for=condition=Ready controlplane/h1 --timeout=30s
  [ "$(hk get secret,serviceaccount -n h1-system -o 'jsonpath={.items[*].metadata.resourceVersion}')" = "$before" ]
}

@test "delete leaves nothing, and the token is revoked" {
  secret_value h1-system admin-kubeconfig kubeconfig-incluster >"$BATS_TEST_TMPDIR/in"
  user_works
  kflex delete h1
  [ -z "$(hk get controlplane/h1 namespace/h1-system clusterrolebinding/h1-binding --ignore-not-found -o name)" ]
  lacks "$(kubectl config view)" h1
  refused() { ! user_works; }
  within 15 refused
}
