#!/usr/bin/env bats
# Health and metrics of each process in a real cluster. Hanging loops, bounds and bad input: tests/health.
# shellcheck disable=SC2154 # bats sets output, status, stderr

bats_require_minimum_version 1.5.0

setup_file() {
  load lib.bash
  e2e_setup_file
  kflex create metered --timeout "$READY_TIMEOUT"
}

teardown_file() {
  load lib.bash
  planes_delete metered
}

setup() { load lib.bash; }

# pod LABEL: its address.
pod() { hk get pods -n kubeflex-system -l "$1" -o 'jsonpath={.items[0].status.podIP}'; }

# asks LABEL PATH
asks() { in_node curl -s --max-time 5 "http://$(pod "$1"):8081/$2"; }

WATCHER=control-plane=controller-manager
NAMED=app.kubernetes.io/name

@test "every process is healthy, ready and says how" {
  for label in "$WATCHER" "$NAMED=kubeflex-bus" "$NAMED=kubeflex-reconciler-k8s" "$NAMED=kubeflex-storage-agent"; do
    [ "$(asks "$label" healthz)" = ok ]
  done
  [ "$(asks "$WATCHER" readyz)" = 'ok: leading' ]
  [ "$(asks "$NAMED=kubeflex-bus" readyz)" = ok ]
  [ "$(asks "$NAMED=kubeflex-reconciler-k8s" readyz)" = 'ok: connected' ]
  [ "$(asks "$NAMED=kubeflex-storage-agent" readyz)" = 'ok: connected' ]
}

@test "metrics parse, and tell of queue, requests, reconcile time and time to Ready" {
  for label in "$WATCHER" "$NAMED=kubeflex-bus" "$NAMED=kubeflex-reconciler-k8s" "$NAMED=kubeflex-storage-agent"; do
    asks "$label" metrics >"$BATS_TEST_TMPDIR/${label##*=}"
    python3 -B "$REPO/tests/lib/exposition.py" "$BATS_TEST_TMPDIR/${label##*=}"
    grep -q '^kubeflex_api_requests_total{verb="[a-z-]*",code="200"} [1-9]' "$BATS_TEST_TMPDIR/${label##*=}" ||
      fail "$label counts no requests"
  done
  grep -q '^kubeflex_controlplane_ready_seconds_count [1-9]' "$BATS_TEST_TMPDIR/controller-manager"
  grep -q '^kubeflex_controlplanes{type="k8s",ready="true"} [1-9]' "$BATS_TEST_TMPDIR/controller-manager"
  for service in reconcile.k8s storage; do
    grep -q "^kubeflex_bus_tasks_total{service=\"$service\"} [1-9]" "$BATS_TEST_TMPDIR/kubeflex-bus"
    grep -q "^kubeflex_bus_ready{service=\"$service\"} [0-9]" "$BATS_TEST_TMPDIR/kubeflex-bus"
  done
  grep -q '^kubeflex_reconcile_seconds_count{service="reconcile.k8s"} [1-9]' "$BATS_TEST_TMPDIR/kubeflex-reconciler-k8s"
  grep -q '^kubeflex_reconcile_seconds_count{service="storage"} [1-9]' "$BATS_TEST_TMPDIR/kubeflex-storage-agent"
}

@test "the log of each process names plane and uid" {
  uid=$(plane_uid metered)
  for deployment in kubeflex-controller-manager kubeflex-reconciler-k8s kubeflex-storage-agent; do
    contains "$(hk logs -n kubeflex-system "deployment/$deployment" --tail=-1)" "plane=metered uid=$uid"
  done
}
