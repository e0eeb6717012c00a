#!/usr/bin/env bats
# PostCreateHooks with real pods: planes of type k8s, Jobs that run and fail. tests/types/test_hooks.py has all the rest, without a
# node.
# shellcheck disable=SC2154 # bats sets output, status, stderr

bats_require_minimum_version 1.5.0

setup_file() {
  load lib.bash
  e2e_setup_file
  # What takes long goes on side by side: two planes that share a hook, one of which waits for it and for a Job.
  hook_apply hooks-hello config_map
  hook_apply hooks-job job true
  hook_apply hooks-fails job false
  plane_with hooks1 '{"postCreateHook": "hooks-hello", "postCreateHookVars": {"MESSAGE": "Hi"}, "postCreateHooks": [{"hookName": "hooks-fails"}, {"hookName": "hooks-late"}]}'
  plane_with hooks2 '{"waitForPostCreateHooks": true, "globalVars": {"MESSAGE": "all"}, "postCreateHooks": [{"hookName": "hooks-hello"}, {"hookName": "hooks-job"}]}'
  hk wait controlplane/hooks1 controlplane/hooks2 --for=condition=Ready --timeout="$READY_TIMEOUT"
}

teardown_file() {
  load lib.bash
  planes_delete hooks1 hooks2
  hk delete postcreatehooks hooks-hello hooks-job hooks-fails hooks-late hooks-inside --ignore-not-found
}

setup() { load lib.bash; }

plane_with() { # NAME SPEC
  plane_manifest "$1" | hk create --dry-run=client -f - -o json | jq --argjson more "$2" '.spec += $more' | hk apply -f -
}

hook_apply() { # NAME TEMPLATE WORD…
  hk apply -f - <<YAML
apiVersion: $GROUP/v1alpha1
kind: PostCreateHook
metadata: {name: $1, labels: {e2e/hook: $1}}
spec:
  defaultVars: [{name: MESSAGE, value: Hello}]
  templates:
$("template_$2" "${@:3}")
YAML
}

template_config_map() {
  cat <<'YAML'
  - apiVersion: v1
    kind: ConfigMap
    metadata: {name: '{{.HookName}}'}
    data: {message: '{{.MESSAGE}} from {{.ControlPlaneName}}'}
YAML
}

template_job() { # WHAT ENDS IT
  cat <<YAML
  - apiVersion: batch/v1
    kind: Job
    metadata: {name: '{{.HookName}}'}
    spec:
      backoffLimit: 0
      template:
        spec:
          restartPolicy: Never
          automountServiceAccountToken: false
          containers:
          - name: c
            image: $KUBECTL_IMAGE
            imagePullPolicy: IfNotPresent
            args: [$([[ $1 == true ]] && echo 'version, --client' || echo no-such-command)]
YAML
}

message() { hk get configmap -n "$1-system" hooks-hello -o 'jsonpath={.data.message}'; }
state() { hk get controlplane "$1" -o "jsonpath={.status.postCreateHookStatus[?(@.hookName=='$2')].reason}"; }
done_hooks() { hk get controlplane "$1" -o json | jq -c '.status.postCreateHooks | keys'; }

state_is() { hk wait "controlplane/$1" --for="jsonpath={.status.postCreateHookStatus[?(@.hookName=='$2')].reason}=$3" --timeout=60s; }

@test "variables of two planes, and labels" {
  [ "$(message hooks1)" = 'Hi from hooks1' ]
  [ "$(message hooks2)" = 'all from hooks2' ]
  [[ $(hk get controlplane hooks2 -o 'jsonpath={.metadata.labels.e2e/hook}') == hooks-* ]]
}

@test "one waited for its Job, the other for nothing" {
  [ "$(hk get job -n hooks2-system hooks-job -o 'jsonpath={.status.succeeded}')" = 1 ]
  [ "$(done_hooks hooks2)" = '["hooks-hello","hooks-job"]' ]
  [ "$(hk get controlplane hooks2 -o 'jsonpath={.status.postCreateHookCompleted}')" = true ]
  [ "$(hk get controlplane hooks1 -o 'jsonpath={.status.postCreateHookCompleted}')" = false ]
}

@test "a failing Job and a hook that is not there are said" {
  state_is hooks1 hooks-fails ObjectFailed
  [ "$(state hooks1 hooks-late)" = HookNotFound ]
  [ "$(condition hooks1 HooksApplied status)" = False ]
  hk get events -o 'jsonpath={range .items[*]}{.involvedObject.name} {.reason} {.message}{"\n"}{end}' | grep 'hooks1 HookFail .*hooks-fails'
}

@test "a late hook, a changed variable, a removed hook" {
  hook_apply hooks-late config_map
  state_is hooks1 hooks-late Applied
  hk patch controlplane hooks1 --type merge -p '{"spec": {"postCreateHookVars": {"MESSAGE": "Changed"}, "postCreateHooks": [{"hookName": "hooks-late"}]}}'
  hk wait -n hooks1-system job/hooks-fails --for=delete --timeout=30s
  hk wait -n hooks1-system configmap/hooks-hello --for='jsonpath={.data.message}=Changed from hooks1' --timeout=30s
  hk wait controlplane/hooks1 --for=condition=HooksApplied --timeout=30s
  [ "$(done_hooks hooks1)" = '["hooks-hello","hooks-late"]' ]
}

@test "inside the plane, without a Job" {
  hk apply -f - <<YAML
apiVersion: $GROUP/v1alpha1
kind: PostCreateHook
metadata: {name: hooks-inside}
spec:
  target: ControlPlane
  templates:
$(template_config_map)
YAML
  hk patch controlplane hooks2 --type json -p '[{"op": "add", "path": "/spec/postCreateHooks/-", "value": {"hookName": "hooks-inside"}}]'
  state_is hooks2 hooks-inside Applied
  kflex ctx hooks2
  [ "$(pk hooks2 get configmap hooks-inside -o 'jsonpath={.data.message}')" = 'all from hooks2' ]
}
