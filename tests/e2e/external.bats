#!/usr/bin/env bats
# Control planes of type external and kflex adopt. The cluster that is adopted is another control plane's API server: it has
# its own network namespace, storage, accounts and garbage collector, and the hosting cluster knows nothing of what is in it.
# What goes wrong (refusals, outages, renewals) is in tests/types, which needs no node.
# shellcheck disable=SC2154 # bats sets output, status, stderr

bats_require_minimum_version 1.5.0

FAR_INSIDE=https://far.far-system.svc.cluster.local

setup_file() {
  load lib.bash
  e2e_setup_file
  kflex create far --timeout "$READY_TIMEOUT"
  kflex ctx
  kflex adopt x1 -c far -u "$FAR_INSIDE" -x 3600 --timeout "$READY_TIMEOUT" >"$BATS_FILE_TMPDIR/adopt.out" 2>"$BATS_FILE_TMPDIR/adopt.err"
}

teardown_file() {
  load lib.bash
  hk delete secret -n kubeflex-system x1-bootstrap x2-bootstrap --ignore-not-found
  planes_delete x1 x2
  planes_delete far
}

setup() { load lib.bash; }

far_name() { printf 'kubeflex-%s' "$(plane_uid "$1")"; }
far_objects() { pk far get "clusterrolebinding/$1" "serviceaccount/$1" -n kube-system --ignore-not-found -o name; }

@test "adopt says what it does, and the plane is Ready" {
  [ ! -s "$BATS_FILE_TMPDIR/adopt.err" ] || fail "$(<"$BATS_FILE_TMPDIR/adopt.err")"
  contains "$(<"$BATS_FILE_TMPDIR/adopt.out")" 'Adopting control plane x1 of type external'
  [ "$(condition x1 Synced status)/$(condition x1 Synced reason)" = True/ReconcileSuccess ]
  [ "$(condition x1 Ready status)/$(condition x1 Ready reason)" = True/Available ]
  [ "$(kflex ctx get)" = "$HOST_CONTEXT" ]
}

@test "the administrator's kubeconfig is gone, an account of our own is there" {
  [ -z "$(hk get secret -n kubeflex-system x1-bootstrap --ignore-not-found -o name)" ]
  [ "$(pk far get clusterrolebinding "$(far_name x1)" -o 'jsonpath={.roleRef.name}')" = cluster-admin ]
  lacks "$(secret_value x1-system admin-kubeconfig kubeconfig-incluster)" client-key-data
}

@test "both kubeconfigs work, and the token is one that expires" {
  contains "$(secret_value x1-system admin-kubeconfig kubeconfig-incluster)" "server: $FAR_INSIDE"
  kflex ctx x1
  [ "$(pk x1 auth whoami -o 'jsonpath={.status.userInfo.username}')" = "system:serviceaccount:kube-system:$(far_name x1)" ]
  pk x1 auth can-i '*' '*'
  kflex ctx
  pk x1 get namespaces
  expires=$(hk get secret -n x1-system admin-kubeconfig -o 'jsonpath={.metadata.annotations.kflex\.kubestellar\.org/token-expires}')
  (($(date -d "$expires" +%s) - $(date +%s) < 3700))
}

@test "in the cluster a pod reaches it with kubeconfig-incluster" {
  hk apply -f - <<YAML
apiVersion: v1
kind: Pod
metadata: {name: e2e-client, namespace: x1-system}
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
  hk wait -n x1-system pod/e2e-client --for=jsonpath='{.status.phase}'=Succeeded --timeout=60s ||
    fail "$(hk logs -n x1-system e2e-client)"
  hk delete pod -n x1-system e2e-client --timeout="$GONE_TIMEOUT"
}

@test "either Secret comes back within 5 s when it is deleted or edited" {
  good=$(secret_value x1-system admin-kubeconfig kubeconfig-incluster)
  is_good() { [ "$(secret_value x1-system "$1" kubeconfig-incluster)" = "$good" ]; }
  for secret in admin-kubeconfig external-credentials; do
    hk delete secret -n x1-system "$secret" --wait=false
    within 5 is_good "$secret" || fail "$secret is not back"
    hk patch secret -n x1-system "$secret" -p '{"stringData":{"kubeconfig-incluster":"rubbish"}}'
    within 5 is_good "$secret" || fail "$secret is not put right"
  done
}

@test "so does every other object of an external and of a k8s plane" {
  drift x1
  drift far
  for plane in far x1; do ready "$plane"; done
  within 10 pk far get namespaces
  pk x1 get namespaces
}

@test "accounts in their namespaces may read or do nothing elsewhere" {
  all=$(matrix far-system x1-system)
  contains "$all" system:serviceaccount:far-system:default
  contains "$all" system:serviceaccount:x1-system:default
  [ -z "$(answers <<<"$all")" ] || fail "$(answers <<<"$all")"
}

@test "two planes adopt the same cluster and keep apart" {
  kflex adopt x2 -c far -u "$FAR_INSIDE" --timeout "$READY_TIMEOUT"
  name=$(far_name x2)
  [ "$(far_objects "$name" | wc -l)" -eq 2 ]
  kflex delete x2
  within 10 far_is_clean "$name"
  [ "$(far_objects "$(far_name x1)" | wc -l)" -eq 2 ]
}

far_is_clean() { [ -z "$(far_objects "$1")" ]; }

@test "kflex refuses what cannot work, before anything is made (S-14)" {
  for url in https://127.0.0.1:6443 https://localhost:6443 'https://[::1]:6443' https://169.254.169.254 http://10.0.0.1 https://u:p@10.0.0.1; do
    run --separate-stderr kflex adopt x3 -c far -u "$url"
    [ "$status" -eq 1 ] || fail "$url was taken"
    contains "$stderr" 'url-override'
    lacks "$stderr" ':p@'
  done
  run --separate-stderr kflex adopt x3 -c nowhere
  contains "$stderr" 'context nowhere not found in the kubeconfig'
  run --separate-stderr kflex create x3 --type external
  contains "$stderr" 'kflex adopt'
  [ -z "$(hk get controlplane x3 --ignore-not-found -o name)" ]
}

@test "type cannot change" {
  run hk patch controlplane x1 --type merge -p '{"spec":{"type":"host"}}'
  [ "$status" -ne 0 ]
  contains "$output" 'type cannot change'
}

@test "delete removes account, rights and token from the cluster, which stays" {
  name=$(far_name x1)
  secret_value x1-system admin-kubeconfig kubeconfig >"$BATS_TEST_TMPDIR/out"
  kubectl --kubeconfig "$BATS_TEST_TMPDIR/out" get namespaces
  kflex delete x1
  within 10 far_is_clean "$name"
  refused() { ! kubectl --kubeconfig "$BATS_TEST_TMPDIR/out" get namespaces; }
  within 15 refused
  [ -z "$(hk get controlplane/x1 namespace/x1-system --ignore-not-found -o name)" ]
  pk far get namespaces
}
