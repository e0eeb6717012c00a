#!/usr/bin/env bats
# A plane's content to a file, back into the same plane and into another one.
# shellcheck disable=SC2154 # bats sets output, status, stderr

bats_require_minimum_version 1.5.0

setup_file() {
  load lib.bash
  e2e_setup_file
  kflex create other --no-wait
  kflex create saved --timeout "$READY_TIMEOUT"
  ready other
  kflex ctx other
}

teardown_file() {
  load lib.bash
  planes_delete saved other
}

setup() { load lib.bash; }

# Kind, namespace, name, uid and resourceVersion of all that people and controllers keep.
content() {
  pk "$1" get configmaps,secrets,serviceaccounts,namespaces,clusterroles,deployments -A --no-headers \
    -o custom-columns=k:kind,ns:metadata.namespace,n:metadata.name,u:metadata.uid,v:metadata.resourceVersion | tr -s ' ' | sort
}

# Without what controllers write anew in each plane.
settled() { grep -vE ' (kube-root-ca.crt|extension-apiserver-authentication|kube-apiserver-legacy-service-account-token-tracking) ' "$1"; }

# A backup beside which nothing has changed: the controllers of a new plane have much to do.
at_rest() {
  content saved >"$BATS_FILE_TMPDIR/before"
  kflex backup saved -o "$1"
  content saved >"$BATS_FILE_TMPDIR/beside"
  grep -q 'ServiceAccount team default ' "$BATS_FILE_TMPDIR/before" && cmp "$BATS_FILE_TMPDIR/before" "$BATS_FILE_TMPDIR/beside"
}

root_ca() { pk other get configmap kube-root-ca.crt -n "$1" -o 'jsonpath={.data}'; }
same_authority() { [[ $(root_ca team) == "$(root_ca fresh)" ]]; }

# authenticated PLANE TOKEN
authenticated() {
  pk "$1" create -o 'jsonpath={.status.authenticated}' -f - <<YAML
{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": "$2"}}
YAML
}

@test "a plane goes back to what it was, under a client that watches" {
  local file=$BATS_FILE_TMPDIR/saved.kfb
  pk saved create namespace team
  for i in 1 2 3; do pk saved create configmap "keep-$i" -n team --from-literal=n="$i"; done
  pk saved create secret generic login -n team --from-literal=password=once
  within 60 at_rest "$file"
  [ "$(stat -c %a "$file")" = 600 ]
  kflex restore --check "$file"
  pk saved delete namespace team
  pk saved create configmap later
  version=$(pk saved get configmap later -o 'jsonpath={.metadata.resourceVersion}')
  kflex restore "$file" --force
  within 60 pk saved get --raw /readyz
  content saved >"$BATS_TEST_TMPDIR/after"
  diff <(settled "$BATS_FILE_TMPDIR/before") <(settled "$BATS_TEST_TMPDIR/after")
  [ "$(pk saved get secret login -n team -o 'jsonpath={.data.password}' | base64 -d)" = once ]
  run pk saved get configmap later
  [ "$status" -ne 0 ]
  # Its clock went on, and who watched from before is told to begin anew.
  pk saved create configmap after
  [ "$(pk saved get configmap after -o 'jsonpath={.metadata.resourceVersion}')" -gt "$version" ]
  run pk saved get --raw "/api/v1/configmaps?watch=1&resourceVersion=$version&timeoutSeconds=5"
  contains "$output" Expired
}

@test "another plane takes it over, with its own certificates and working controllers" {
  local file=$BATS_FILE_TMPDIR/saved.kfb
  kflex restore "$file" other --force
  within 60 pk other get --raw /readyz
  content other >"$BATS_TEST_TMPDIR/other"
  diff <(settled "$BATS_FILE_TMPDIR/before") <(settled "$BATS_TEST_TMPDIR/other")
  pk other create namespace fresh
  within 90 pk other get serviceaccount default -n fresh # the controller manager leads again
  within 60 same_authority
  token=$(pk other create token default -n team)
  [ "$(authenticated other "$token")" = true ] || fail "its own token is refused"
  hk wait --for=condition=Ready controlplane/other --timeout="$READY_TIMEOUT"
}
