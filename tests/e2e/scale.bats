#!/usr/bin/env bats
# More replicas of a reconciler share its work at once, fewer hand it back, and nothing is lost on the way. The node takes no
# pods meanwhile, so the planes cost no memory: they are Synced, not Ready.
# shellcheck disable=SC2154 # bats sets output, status, stderr
# bats file_tags=alone

bats_require_minimum_version 1.5.0

DEPLOYMENT=deployment/kubeflex-reconciler-k8s

setup_file() {
  load lib.bash
  e2e_setup_file
}

teardown_file() {
  load lib.bash
  hk uncordon "$(hk get nodes -o 'jsonpath={.items[0].metadata.name}')"
  hk scale -n kubeflex-system "$DEPLOYMENT" --replicas=1
  # shellcheck disable=SC2046 # words are wanted
  planes_delete $(wave a) $(wave b)
}

setup() { load lib.bash; }

# The planes of a wave, by name.
wave() { printf "wave-$1%s " 1 2 3 4 5 6 7 8; }

wave_apply() {
  local name
  for name in $(wave "$1"); do plane_manifest "$name"; done | hk apply -f -
}

wave_synced() {
  local name
  for name in $(wave "$1"); do hk wait --for=condition=Synced "controlplane/$name" --timeout=60s; done
}

# tap_workers WAVE: how many workers were given tasks of the wave.
tap_workers() {
  python3 -c '
import json, sys
seen = [json.loads(line) for line in open(sys.argv[1])]
print(len({m["peer"] for m in seen if m["kind"] == "TASK" and m["service"] == "reconcile.k8s" and m["key"].startswith(sys.argv[2])}))
' "$BATS_FILE_TMPDIR/tap" "wave-$1"
}

@test "replicas share the keys at once and hand them back when they go" {
  hk scale -n kubeflex-system "$DEPLOYMENT" --replicas=3
  hk rollout status -n kubeflex-system "$DEPLOYMENT" --timeout=60s
  hk cordon "$(hk get nodes -o 'jsonpath={.items[0].metadata.name}')"
  tap_start "$BATS_FILE_TMPDIR/tap" --json --kind HELLO,TASK,DONE,BYE
  wave_apply a
  wave_synced a
  wave_apply b
  hk scale -n kubeflex-system "$DEPLOYMENT" --replicas=1
  wave_synced b
  tap_await "$BATS_FILE_TMPDIR/tap" 2 '"kind":"BYE"'
  tap_stop
  [ "$(tap_workers a)" -eq 3 ]
  # They said goodbye: no lease had to run out for their tasks to go on.
  tap_start "$BATS_FILE_TMPDIR/stats" --stats --json
  tap_await "$BATS_FILE_TMPDIR/stats" 1 '"service":"reconcile.k8s","workers":1,.*"redelivered":0'
  tap_stop
}
