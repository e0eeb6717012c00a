#!/usr/bin/env bats
# A container that ends again and again. A file of its own, because the kubelet's back-off makes it slow.
# shellcheck disable=SC2154 # bats sets output, status, stderr

bats_require_minimum_version 1.5.0

setup_file() {
  load lib.bash
  e2e_setup_file
}

teardown_file() {
  load lib.bash
  planes_delete in-crash
}

setup() { load lib.bash; }

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
  await_reason in-crash Ready ContainerFailing 90
  # Both containers end, the API server because kine does: it is a matter of the moment which of them is down when it is looked at.
  says in-crash Ready 'ends again and again' 'kubectl logs -n in-crash-system deploy/kube-apiserver -c k' '--previous'
  lacks "$(condition in-crash Ready message)" "$password"
  sql "alter role \"$role\" password '$password'"
  ready in-crash
  [ -n "$uid" ]
}
