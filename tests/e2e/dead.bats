#!/usr/bin/env bats
# The API server of a Ready plane dies, and freezes: Ready turns False and back by itself, and Events tell of that only.
# shellcheck disable=SC2154 # bats sets output, status, stderr

bats_require_minimum_version 1.5.0

# What is promised are 5 s and a minute (docs/architecture.md); the rest is for a machine that does other things too.
DIES_WITHIN=10
FREEZES_WITHIN=75

setup_file() {
  load lib.bash
  e2e_setup_file
  plane_apply dies
  ready dies
  hk wait --for=condition=ControllerManagerReady controlplane/dies --timeout="$READY_TIMEOUT"
}

teardown_file() {
  load lib.bash
  signal CONT || true
  planes_delete dies
}

setup() { load lib.bash; }

teardown() { [[ -z ${record_pid:-} ]] || kill "$record_pid" 2>/dev/null || true; }

# signal SIGNAL: to the plane's API server, whose pod is found by its control group.
signal() {
  local pod
  pod=$(hk get pods -n dies-system -l app=kube-apiserver -o 'jsonpath={.items[0].metadata.uid}')
  # shellcheck disable=SC2016 # the node's shell expands it
  in_node sh -c 'for p in /proc/[0-9]*; do
    if [ "$(cat "$p/comm" 2>/dev/null)" = kube-apiserver ] && grep -qE "$2" "$p/cgroup"; then kill -s "$1" "${p#/proc/}" && done=1; fi
  done; [ -n "${done:-}" ]' sh "$1" "${pod//-/[-_]}"
}

# Writes "time status reason" of Ready to a file, a line a change of the plane; returns when it listens.
record() {
  # exec, so that the process that is ended is kubectl; 3>&-, because bats waits until nobody holds its output.
  (
    exec 3>&-
    exec kubectl --context "$HOST_CONTEXT" get controlplane dies -w -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status} {.status.conditions[?(@.type=="Ready")].reason}{"\n"}' \
      > >(while read -r line; do printf '%s %s\n' "$EPOCHREALTIME" "$line"; done >"$1")
  ) &
  record_pid=$!
  within 20 test -s "$1"
}

# turned FILE STATUS: the first line that says so, after another one.
turned() { awk -v want="$2" 'NR > 1 && $2 == want && before != want { print; exit } { before = $2 }' "$1"; }
has_turned() { [[ -n $(turned "$@") ]]; }

# after FROM FILE STATUS: milliseconds.
after() {
  local line
  line=$(turned "$2" "$3")
  line=${line%% *}
  echo $(((${line//./} - ${1//./}) / 1000))
}

# How often Events told of Ready.
told() {
  hk get events.events.k8s.io -n default -o json | jq --arg uid "$(plane_uid dies)" '[.items[]
    | select(.regarding.uid == $uid and (.reason == "Ready" or .reason == "NotReady")) | .series.count // 1] | add // 0'
}

changes() { awk '{ $1 = "" } NR > 1 && $0 != before { n++ } { before = $0 } END { print n + 0 }' "$1"; }

# Ready turns False within so many seconds after SIGNAL, then THEN is done, and it comes back.
goes_and_comes() { # SIGNAL SECONDS [THEN…]
  local from seen=$BATS_TEST_TMPDIR/seen before
  before=$(told)
  record "$seen"
  from=$EPOCHREALTIME
  signal "$1"
  within "$2" has_turned "$seen" False || fail "still Ready: $(<"$seen")"
  printf '# SIG%s: Ready=False after %d ms: %s\n' "$1" "$(after "$from" "$seen" False)" "$(turned "$seen" False)" >&3
  says_parts
  "${@:3}"
  ready dies
  within 20 has_turned_back "$seen"
  # One Event a change, and no other.
  within 20 events_match "$before" "$seen" || fail "$(told) Events after $before for: $(<"$seen")"
  pk_works
}

has_turned_back() { awk '$2 == "False" { gone = 1 } gone && $2 == "True" { back = 1 } END { exit !back }' "$1"; }
events_match() { (($(told) == $1 + $(changes "$2"))); }

# The condition of the part says the same as Ready.
says_parts() {
  local both
  both=$(hk get controlplane dies -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status} {.status.conditions[?(@.type=="APIServerReady")].status}')
  [[ $both == 'False False' || $both == 'True True' ]] || fail "Ready and APIServerReady are $both"
  [ "$(condition dies StorageReady status)" = True ]
  [ "$(condition dies Exposed status)" = True ]
}

pk_works() {
  secret_value dies-system admin-kubeconfig kubeconfig >"$BATS_TEST_TMPDIR/kubeconfig"
  within 20 kubectl --kubeconfig "$BATS_TEST_TMPDIR/kubeconfig" get namespaces
}

part_works() { [[ "$(condition dies "$1" status)/$(condition dies "$1" reason)" == True/Available ]]; }

@test "the conditions of a plane's parts are there, and say what they stand for" {
  within 30 part_works APIServerReady
  within 30 part_works ControllerManagerReady # on a busy machine it may miss a probe
  [ "$(condition dies Exposed status)/$(condition dies Exposed reason)" = True/Ingress ]
  says dies Exposed 'Ingress dies'
}

@test "an API server that is killed: Ready is False within seconds, and True again by itself" {
  goes_and_comes KILL "$DIES_WITHIN"
}

@test "an API server that hangs: Ready is False within a minute, and True again when it goes on" {
  goes_and_comes STOP "$FREEZES_WITHIN" signal CONT
}
