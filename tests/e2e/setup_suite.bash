# shellcheck shell=bash
# Before the first and after the last test of a run: the recorder, whose record zz_secrets.bats checks. A run in parts names one
# folder for all of them, KFX_RECORD.

setup_suite() {
  local repo instance=${KFX_INSTANCE:-${KUBEFLEX_INSTANCE:-test}}
  repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
  export KFX_RECORD=${KFX_RECORD:-$BATS_SUITE_TMPDIR/record}
  (umask 077 && mkdir -p "$KFX_RECORD")
  # A kubeconfig of its own: tests change the context of theirs.
  cp "${KUBECONFIG:?the kubeconfig of the instance}" "$KFX_RECORD.kubeconfig"
  kubectl --kubeconfig "$KFX_RECORD.kubeconfig" config use-context "kubeflex-$instance"
  KUBECONFIG=$KFX_RECORD.kubeconfig python3 -B "$repo/tests/e2e/recorder.py" record "$KFX_RECORD" \
    "${KUBEFLEX_STATE:-/var/lib/kubeflex-local}/$instance/logs/pods" >"$KFX_RECORD.log" 2>&1 3>&- &
  export KFX_RECORDER=$!
}

teardown_suite() {
  kill -TERM "$KFX_RECORDER" 2>/dev/null || true
  wait "$KFX_RECORDER" 2>/dev/null || true
}
