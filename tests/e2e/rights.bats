#!/usr/bin/env bats
# Rights of our processes (docs/security.md), and how pods are confined.
# shellcheck disable=SC2154 # bats sets output, status, stderr
# bats file_tags=alone

bats_require_minimum_version 1.5.0

PLANE=rights
NS=rights-system

setup_file() {
  load lib.bash
  e2e_setup_file
  kflex create "$PLANE" --timeout "$READY_TIMEOUT"
  hk rollout status -n "$NS" deployment/kube-controller-manager --timeout=60s
  CONFIG_HOST=$(hk get configmap kubeflex-config -n kubeflex-system -o 'jsonpath={.data.hostContainer}')
  export CONFIG_HOST
}

teardown_file() {
  load lib.bash
  hk delete pods -n default e2e-bare e2e-bind --ignore-not-found --timeout="$GONE_TIMEOUT"
  hk patch configmap kubeflex-config -n kubeflex-system --type merge -p "{\"data\": {\"exposure\": null, \"hostContainer\": \"$CONFIG_HOST\"}}"
  planes_delete "$PLANE"
}

setup() {
  load lib.bash
  export PLANE HOST_CONTEXT
}

rights() { python3 "$BATS_TEST_DIRNAME/rights.py" "$@"; }

# apiserver_pod NAME CAPABILITY-LIST: prints the version of kube-apiserver's image, confined as in a plane.
apiserver_pod() {
  hk apply -f - <<YAML
apiVersion: v1
kind: Pod
metadata: {name: $1, namespace: default}
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  securityContext: {runAsNonRoot: true, runAsUser: 65532, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: kube-apiserver
    image: registry.k8s.io/kube-apiserver:v1.36.3
    imagePullPolicy: IfNotPresent
    command: [kube-apiserver, --version]
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {drop: [ALL], add: $2}
YAML
}

# pod_security NAMESPACE: what the level "restricted" would say of the pods that run there.
pod_security() { hk label namespace "$1" --dry-run=server --overwrite pod-security.kubernetes.io/enforce=restricted 2>&1; }

# owned_secret ACCOUNT BLOCKS: tries to create a Secret that the plane owns, as that account. Nothing is left of it.
owned_secret() {
  hk create --as="system:serviceaccount:kubeflex-system:$1" --dry-run=server -f - <<YAML
apiVersion: v1
kind: Secret
metadata:
  name: e2e-owned
  namespace: kubeflex-system
  ownerReferences:
  - {apiVersion: $GROUP/v1alpha1, kind: ControlPlane, name: $PLANE, uid: $(plane_uid "$PLANE"), blockOwnerDeletion: $2}
YAML
}

@test "the roles in the cluster are the table of docs/security.md" { rights roles; }

@test "each right of the table is granted, and a limit to names is one" { rights granted; }

@test "no account has a right more, by whatever binding" { rights nothing-else; }

@test "what must not be is refused: children, other Secrets, others' work" { rights refused; }

@test "the cluster asks for the right that ownerReferences need" {
  run owned_secret kubeflex-bus true
  [ "$status" -ne 0 ]
  contains "$output" 'cannot set blockOwnerDeletion'
  # It is not the Secret that is refused; and who has the right may.
  owned_secret kubeflex-bus false
  owned_secret kubeflex-storage-agent true
}

@test "pods of planes and ours are confined, as spec and as processes" {
  python3 "$BATS_TEST_DIRNAME/confined.py" "$NS" kubeflex-system
}

@test "kube-apiserver's image needs NET_BIND_SERVICE in the bounding set, and nothing else" {
  apiserver_pod e2e-bare '[]'
  apiserver_pod e2e-bind '[NET_BIND_SERVICE]'
  hk wait -n default pod/e2e-bind --for=jsonpath='{.status.phase}'=Succeeded --timeout=60s
  hk wait -n default pod/e2e-bare --for=jsonpath='{.status.phase}'=Failed --timeout=60s
  contains "$(hk logs -n default e2e-bind)" 'Kubernetes v1.36.3'
  contains "$(hk logs -n default e2e-bare)" 'exec /usr/local/bin/kube-apiserver: operation not permitted'
}

@test "no pod of a plane's namespace may reach the node" {
  local namespace
  for namespace in default "$NS"; do
    run hk create -n "$namespace" --dry-run=server -f - <<'YAML'
apiVersion: v1
kind: Pod
metadata: {name: e2e-node}
spec:
  hostPID: true
  containers: [{name: any, image: any, securityContext: {privileged: true}}]
YAML
    if [[ $namespace == default ]]; then [ "$status" -eq 0 ]; fi
  done
  [ "$status" -ne 0 ]
  contains "$output" 'violates PodSecurity "baseline:latest"'
}

@test "a plane's pods pass the Pod Security level restricted; ours do but Postgres" {
  run pod_security "$NS"
  [ "$status" -eq 0 ]
  lacks "$output" Warning
  # Its volume is a folder of the node.
  run pod_security kubeflex-system
  contains "$output" 'postgres-postgresql-0: restricted volume types'
  [ "$(grep -c 'Warning: postgres\|Warning: kubeflex' <<<"$output")" -eq 1 ]
  # That it would say something: CoreDNS and its like are not confined so.
  contains "$(pod_security ingress-nginx)" Warning
}

# Uses the rights that a quiet plane does not.
@test "what is deleted, changed or not exposed any more is put right, with the rights there are" {
  local object objects=(service/"$PLANE" deployment/kube-controller-manager secret/{k8s-certs,admin-kubeconfig,cm-kubeconfig})
  hk delete -n "$NS" --wait=false "${objects[@]}" ingress/"$PLANE"
  hk label namespace "$NS" kflex.kubestellar.org/controlplane-
  for object in "${objects[@]}" ingress/"$PLANE"; do hk wait -n "$NS" --for=create "$object" --timeout=60s; done
  hk wait namespace/"$NS" --for=jsonpath='{.metadata.labels.kflex\.kubestellar\.org/controlplane}'="$PLANE" --timeout=60s
  hk patch configmap kubeflex-config -n kubeflex-system --type merge -p '{"data": {"exposure": "nodeport", "hostContainer": "e2e.example"}}'
  hk wait -n "$NS" --for=delete ingress/"$PLANE" --timeout=60s
  hk patch configmap kubeflex-config -n kubeflex-system --type merge -p "{\"data\": {\"exposure\": null, \"hostContainer\": \"$CONFIG_HOST\"}}"
  hk wait -n "$NS" --for=create ingress/"$PLANE" --timeout=60s
  hk delete -n "$NS" secret/k8s-certs
  hk wait -n "$NS" --for=create secret/k8s-certs --timeout=60s
  hk wait --for=condition=Synced controlplane/"$PLANE" --timeout=60s
}

@test "the audit log: none of our requests was refused, and each right is used or explained" {
  local state=${KUBEFLEX_STATE:-/var/lib/kubeflex-local}/$INSTANCE
  # The way down is part of what is looked at.
  planes_delete "$PLANE"
  rights used "$state"/logs/audit*.log
}
