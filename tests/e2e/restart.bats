#!/usr/bin/env bats
# Rest is silent, also right after a restart of every process: what is there is judged from the lists, nothing is written again.
# shellcheck disable=SC2154 # bats sets output, status, stderr
# bats file_tags=alone

bats_require_minimum_version 1.5.0

PLANE=rest
AGENTS='^kubeflex-(watcher|reconciler|storage-agent|bus)'

setup_file() {
  load lib.bash
  e2e_setup_file
  plane_apply "$PLANE"
  hk wait --for=condition=Ready controlplane/"$PLANE" --timeout="$READY_TIMEOUT"
}

teardown_file() {
  load lib.bash
  planes_delete "$PLANE"
}

setup() {
  load lib.bash
  AUDIT=${KUBEFLEX_STATE:-/var/lib/kubeflex-local}/$INSTANCE/logs/audit.log
}

# requests_since OFFSET VERB…: requests of our processes, the election's own (Lease, record of the epoch) apart.
requests_since() {
  local from=$1
  shift
  tail -c "+$((from + 1))" "$AUDIT" | jq -r -R --arg agents "$AGENTS" 'fromjson? | select(.stage == "ResponseComplete")
    | select(.userAgent | test($agents)) | select(.verb | IN($ARGS.positional[]))
    | select(.objectRef.resource != "leases" and .objectRef.name != "kubeflex-leader")
    | "\(.userAgent) \(.verb) \(.objectRef.resource)\(if .objectRef.subresource then "/" + .objectRef.subresource else "" end) \(.objectRef.name // "")"' --args "$@"
}

writes_since() { requests_since "$1" create update patch delete deletecollection; }

# Until our processes have written nothing for five seconds.
await_rest() {
  local from deadline=$((SECONDS + 120))
  while ((SECONDS < deadline)); do
    from=$(stat -c %s "$AUDIT")
    sleep 5 # the length of the rest that is asked for
    [[ -n $(writes_since "$from") ]] || return 0
  done
  fail "no rest: $(writes_since "$from" | sort | uniq -c)"
}

# results: how many results the leading watcher has had from its workers.
results() {
  local pod
  for pod in $(hk get pods -n kubeflex-system -l control-plane=controller-manager -o 'jsonpath={.items[*].metadata.name}'); do
    hk get --raw "/api/v1/namespaces/kubeflex-system/pods/$pod:8081/proxy/metrics"
  done | awk '/^kubeflex_watcher_results_total/ { n += $NF } END { print n + 0 }'
}

@test "a restart of every process writes nothing and lists each kind once" {
  local from deployments deadline expected
  await_rest
  from=$(stat -c %s "$AUDIT")
  mapfile -t deployments < <(hk get deployments -n kubeflex-system -o name)
  hk delete pods -n kubeflex-system --wait --timeout=60s -l 'app.kubernetes.io/name,app.kubernetes.io/name!=postgresql'
  hk rollout status -n kubeflex-system --timeout=120s "${deployments[@]}"
  # Each plane runs once at each of its two services.
  expected=$((2 * $(hk get controlplanes -o name | wc -l)))
  deadline=$((SECONDS + 60))
  until (($(results) >= expected)); do
    ((SECONDS < deadline)) || fail "only $(results) of $expected results came after the restart"
    sleep 0.5
  done
  await_rest
  run -0 writes_since "$from"
  [[ -z $output ]] || fail "written after the restart: $output"
  run -0 requests_since "$from" list
  local again
  again=$(sort <<<"$output" | uniq -c | awk '$1 > 2')
  [[ -z $again ]] || fail "listed again and again: $again"
  [[ $(condition "$PLANE" Ready status) == True ]]
}
