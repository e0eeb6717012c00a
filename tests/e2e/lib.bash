# shellcheck shell=bash disable=SC2034 # read by the test files
# What the end-to-end tests share. They run on an instance of the local cluster: KFX_INSTANCE or KUBEFLEX_INSTANCE (default
# test), its context kubeflex-<instance> in $KUBECONFIG, kflex and kubectl on PATH. Each file works on a copy of the
# kubeconfig, so that files do not see each other's contexts.

INSTANCE=${KFX_INSTANCE:-${KUBEFLEX_INSTANCE:-test}}
HOST_CONTEXT=kubeflex-$INSTANCE
REPO=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
READY_TIMEOUT=180s
GONE_TIMEOUT=120s
GROUP=tenancy.kflex.kubestellar.org
KUBECTL_IMAGE=kubeflex.local/kubectl:v1.36.3

# To be called first in setup_file.
e2e_setup_file() {
  cp "${KUBECONFIG:?the instance\'s kubeconfig}" "$BATS_FILE_TMPDIR/kubeconfig"
  chmod 0600 "$BATS_FILE_TMPDIR/kubeconfig"
  export KUBECONFIG=$BATS_FILE_TMPDIR/kubeconfig
  kubectl config use-context "$HOST_CONTEXT"
}

# kubectl on the hosting cluster, on a plane off the cluster.
hk() { kubectl --context "$HOST_CONTEXT" "$@"; }
pk() { kubectl --context "$1" "${@:2}"; }

# in_node COMMAND…: inside the node's network.
in_node() { "$REPO/deploy/local/node-exec" "$INSTANCE" "$@"; }

# One line of SQL, as the superuser, answer without ornament.
sql() { hk exec -n kubeflex-system postgres-postgresql-0 -- psql -U postgres -AtXqc "$1"; }

plane_uid() { hk get controlplane "$1" -o 'jsonpath={.metadata.uid}'; }

# The database of a plane, by its uid: "<name cut to 26>_<uid without dashes>".
databases_of() { sql "select datname from pg_database where datname like '%\\_${1//-/}'"; }
roles_of() { sql "select rolname from pg_roles where rolname like '%\\_${1//-/}%' order by 1"; }

# plane_apply NAME [TYPE]: without kflex.
plane_apply() { plane_manifest "$@" | hk apply -f -; }

plane_manifest() {
  cat <<YAML
---
apiVersion: $GROUP/v1alpha1
kind: ControlPlane
metadata:
  name: $1
spec:
  type: ${2:-k8s}
  backend: shared
YAML
}

# condition NAME TYPE FIELD
condition() { hk get controlplane "$1" -o "jsonpath={.status.conditions[?(@.type=='$2')].$3}"; }

# secret_value NAMESPACE SECRET KEY, decoded. Dots of the key are escaped here.
secret_value() { hk get secret -n "$1" "$2" -o "jsonpath={.data.${3//./\\.}}" | base64 -d; }

# shellcheck disable=SC2016 # a Go template, not the shell's
secret_keys() { hk get secret -n "$1" "$2" -o 'go-template={{range $k, $v := .data}}{{$k}} {{end}}'; }

# Deletes planes, for teardown: no failure where they are gone.
planes_delete() {
  hk delete controlplane "$@" --ignore-not-found --timeout="$GONE_TIMEOUT"
  local name
  for name; do hk wait --for=delete "namespace/$name-system" --timeout="$GONE_TIMEOUT" || true; done
}

# tap_start FILE OPTION…: kflex tap in the background, listening; its output goes to FILE.
tap_start() {
  local out=$1
  shift
  kubectl config use-context "$HOST_CONTEXT"
  kflex tap "$@" >"$out" 2>"$out.err" 3>&- &
  tap_pid=$!
  local i
  for ((i = 0; i < 100; i++)); do
    if grep -q '^Listening' "$out.err"; then return 0; fi
    kill -0 "$tap_pid" || break
    sleep 0.1
  done
  fail "kflex tap does not listen: $(cat "$out.err")"
}

# tap_await FILE COUNT PATTERN: until that many lines match.
tap_await() {
  local i
  for ((i = 0; i < 300; i++)); do
    if (($(grep -cE "$3" "$1") >= $2)); then return 0; fi
    sleep 0.1
  done
  fail "not $2 lines like $3 in: $(tail -n 20 "$1")"
}

tap_stop() {
  kill -INT "$tap_pid"
  wait "$tap_pid"
}

fail() {
  printf '%s\n' "$*" >&2
  return 1
}

contains() { [[ $1 == *"$2"* ]] || fail "expected \"$2\" in: $1"; }
lacks() { [[ $1 != *"$2"* ]] || fail "expected no \"$2\" in: $1"; }

# within SECONDS COMMAND…: until it succeeds. The time is the test's claim, so it is looked at often.
within() {
  local end=$((${EPOCHREALTIME//./} + $1 * 1000000))
  until "${@:2}" >/dev/null 2>&1; do
    ((${EPOCHREALTIME//./} < end)) || return 1
    sleep 0.1
  done
}

# config_set KEY VALUE, config_unset KEY…: in ConfigMap kubeflex-config, which all planes hear of.
config_set() { hk patch configmap -n kubeflex-system kubeflex-config -p "{\"data\":{\"$1\":\"$2\"}}"; }
config_unset() {
  local key
  for key; do hk patch configmap -n kubeflex-system kubeflex-config -p "{\"data\":{\"$key\":null}}"; done
}

# await_reason NAME TYPE REASON [SECONDS]
await_reason() {
  hk wait "controlplane/$1" --for=jsonpath="{.status.conditions[?(@.type=='$2')].reason}=$3" --timeout="${4:-60}s" ||
    fail "$1: $2 is $(condition "$1" "$2" reason) ($(condition "$1" "$2" message)), not $3"
}

# says NAME TYPE WORD…
says() {
  local message word
  message=$(condition "$1" "$2" message)
  for word in "${@:3}"; do contains "$message" "$word"; done
}

# question ACCOUNT NAMESPACE VERB RESOURCE [SUBRESOURCE]: a SubjectAccessReview; NAMESPACE "": all.
question() {
  printf -- '---\napiVersion: authorization.k8s.io/v1\nkind: SubjectAccessReview\nspec:\n'
  printf '  user: system:serviceaccount:%s\n  groups: [system:serviceaccounts, "system:serviceaccounts:%s", system:authenticated]\n' "$1" "${1%:*}"
  printf '  resourceAttributes: {namespace: "%s", verb: %s, resource: %s, subresource: "%s"}\n' "$2" "$3" "$4" "${5:-}"
}

# answers: the questions of standard input that are answered with yes.
answers() {
  hk create -f - -o 'jsonpath={.status.allowed} {.spec.user} {.spec.resourceAttributes.verb} {.spec.resourceAttributes.resource} {.spec.resourceAttributes.namespace}{"\n"}' |
    sed -n 's/^true //p'
}

# matrix NAMESPACE…: what each account of these must not be allowed elsewhere, as questions.
matrix() {
  local account namespace
  for account in $(hk get serviceaccounts -A -o 'jsonpath={range .items[*]}{.metadata.namespace}:{.metadata.name}{"\n"}{end}'); do
    [[ " $* " == *" ${account%:*} "* ]] || continue
    for namespace in "$@" kubeflex-system kube-system ''; do
      [[ $namespace != "${account%:*}" ]] || continue
      question "$account" "$namespace" get secrets
      question "$account" "$namespace" list secrets
      question "$account" "$namespace" get configmaps
      question "$account" "$namespace" create pods
      question "$account" "$namespace" get pods log
      question "$account" "$namespace" create pods exec
    done
    question "$account" '' get nodes
    question "$account" '' list namespaces
    question "$account" '' impersonate users
    question "$account" '' get controlplanes
  done
}

# drift PLANE…: each object of these planes is deleted and edited, and comes back within 5 s (drift.py).
drift() {
  python3 -B "$REPO/tests/e2e/drift.py" "$HOST_CONTEXT" "$@" >"$BATS_TEST_TMPDIR/drift" || fail "$(grep FAILED "$BATS_TEST_TMPDIR/drift")"
}

ready() { hk wait --for=condition=Ready "controlplane/$1" --timeout="$READY_TIMEOUT"; }
