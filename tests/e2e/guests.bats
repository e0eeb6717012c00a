#!/usr/bin/env bats
# Control planes of types vcluster, k3s and ocm, side by side: v1, k1 and o1, and k2, which has to live on when k1 goes. Unless `deploy/local/up --image` has brought the real
# programs, stand-ins run in them (deploy/local/programs/standin), with a real API server inside.
# shellcheck disable=SC2154 # bats sets output, status, stderr
# bats file_tags=alone

bats_require_minimum_version 1.5.0

PLANES=(v1 k1 o1)
declare -gA TYPE=([v1]=vcluster [k1]=k3s [o1]=ocm [k2]=k3s)
declare -gA SECRET=([v1]=vc-vcluster [k1]=k3s-config [o1]=multicluster-controlplane-kubeconfig)
declare -gA OUTSIDE=([v1]=config [k1]=config [o1]=kubeconfig)
declare -gA INSIDE=([v1]=config-incluster [k1]=config-incluster [o1]=kubeconfig-incluster)
declare -gA WORKLOAD=([v1]=statefulset/vcluster [k1]=statefulset/k3s-server [o1]=deployment/multicluster-controlplane)
declare -gA CLAIM=([v1]=data-vcluster-0 [k1]=k3s-data-k3s-server-0 [o1]=multicluster-controlplane-pvc-volume [k2]=k3s-data-k3s-server-0)
declare -gA COPY=([v1]=vc-vcluster-incluster [k1]='' [o1]=multicluster-controlplane-svc-kubeconfig)
declare -gA JOB=([v1]=update-cluster-info [k1]=k3s-bootstrap-kubeconfig [o1]=update-cluster-info)

setup_file() {
  load lib.bash
  e2e_setup_file
  local plane pids=() failed=0
  declare -A more=([v1]='-p limits')
  hk apply -f "$REPO/deploy/hooks/limits.yaml"
  for plane in "${PLANES[@]}" k2; do
    volume_make "$plane"
    cp "$KUBECONFIG" "$(config_of "$plane")"
    # shellcheck disable=SC2086 # words
    KUBECONFIG=$(config_of "$plane") kflex create "$plane" --type "${TYPE[$plane]}" ${more[$plane]:-} --timeout "$READY_TIMEOUT" \
      >"$BATS_FILE_TMPDIR/$plane.out" 2>"$BATS_FILE_TMPDIR/$plane.err" 3>&- &
    pids+=($!)
  done
  for plane in "${pids[@]}"; do wait "$plane" || failed=1; done
  if ((failed)); then
    cat "$BATS_FILE_TMPDIR"/*.out "$BATS_FILE_TMPDIR"/*.err
    hk get pods -A -o wide
    return 1
  fi
}

teardown_file() {
  load lib.bash
  hk scale -n kubeflex-system deployment kubeflex-reconciler-vcluster kubeflex-reconciler-ocm --replicas=1
  planes_delete "${PLANES[@]}" k2
  hk delete postcreatehook limits --ignore-not-found
  hk delete persistentvolume --ignore-not-found "${PLANES[@]/#/e2e-}" e2e-k2
  in_node rm -rf /var/lib/kubeflex-e2e
}

setup() { load lib.bash; }

config_of() { printf '%s/%s.kubeconfig' "$BATS_FILE_TMPDIR" "$1"; }

# kubectl in a plane, off the cluster.
gk() { kubectl --kubeconfig "$(config_of "$1")" --context "$1" "${@:2}"; }

# A volume for a plane, where the cluster has no storage class that makes them.
volume_make() {
  [ -z "$(hk get storageclass -o name)" ] || return 0
  in_node mkdir -p -m 0777 "/var/lib/kubeflex-e2e/$1"
  in_node chmod 0777 "/var/lib/kubeflex-e2e/$1"
  hk apply -f - <<YAML
apiVersion: v1
kind: PersistentVolume
metadata: {name: e2e-$1}
spec:
  capacity: {storage: 5Gi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  claimRef: {namespace: $1-system, name: ${CLAIM[$1]}}
  hostPath: {path: /var/lib/kubeflex-e2e/$1}
YAML
}

# each COMMAND…: for all planes at once, the plane's name appended.
each() {
  local plane pids=() failed=0
  for plane in "${PLANES[@]}"; do
    "$@" "$plane" &
    pids+=($!)
  done
  for plane in "${pids[@]}"; do wait "$plane" || failed=1; done
  return $failed
}

await_ready() { hk wait --for=condition=Ready "controlplane/$1" --timeout=90s; }

@test "create succeeds for all, and goes there; ocm is called deprecated" {
  for plane in "${PLANES[@]}"; do
    contains "$(<"$BATS_FILE_TMPDIR/$plane.out")" "Switched to context $plane"
    [ "$(condition "$plane" Synced reason)/$(condition "$plane" Ready reason)" = ReconcileSuccess/Available ]
    ref=$(hk get controlplane "$plane" -o 'jsonpath={.status.secretRef.namespace}/{.status.secretRef.name}/{.status.secretRef.key}/{.status.secretRef.inClusterKey}')
    [ "$ref" = "$plane-system/${SECRET[$plane]}/${OUTSIDE[$plane]}/${INSIDE[$plane]}" ]
  done
  contains "$(<"$BATS_FILE_TMPDIR/o1.err")" deprecated
  contains "$(secret_keys k1-system k3s-config)" token
}

@test "off the cluster each is reached by its name, over one port" {
  for plane in "${PLANES[@]}"; do
    gk "$plane" create configmap e2e --from-literal=plane="$plane"
    [ "$(gk "$plane" get configmap e2e -o 'jsonpath={.data.plane}')" = "$plane" ]
    gk "$plane" auth can-i '*' '*'
  done
}

client_pod() {
  hk apply -f - <<YAML
apiVersion: v1
kind: Pod
metadata: {name: e2e-client, namespace: $1-system}
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  containers:
  - name: kubectl
    image: $KUBECTL_IMAGE
    imagePullPolicy: IfNotPresent
    args: [--kubeconfig=/plane/${INSIDE[$1]}, get, configmap, e2e]
    volumeMounts: [{name: plane, mountPath: /plane, readOnly: true}]
  volumes:
  - name: plane
    secret: {secretName: ${SECRET[$1]}}
YAML
  hk wait -n "$1-system" pod/e2e-client --for=jsonpath='{.status.phase}'=Succeeded --timeout=60s ||
    fail "$(hk logs -n "$1-system" e2e-client)"
  hk delete pod -n "$1-system" e2e-client --wait=false
}

@test "in the cluster a pod reaches each with its in-cluster kubeconfig" { each client_pod; }

@test "every object that was made is the plane's (B-23), and no grant is cluster-wide (B-04, S-01)" {
  for plane in "${PLANES[@]}"; do
    uid=$(plane_uid "$plane")
    made=$(hk get -n "$plane-system" services,secrets,serviceaccounts,roles,rolebindings,ingresses,deployments,statefulsets,jobs \
      -l "kflex.kubestellar.org/controlplane=$plane" -o 'jsonpath={range .items[*]}{.kind}/{.metadata.name}={.metadata.ownerReferences[0].uid}{"\n"}{end}')
    [ "$(wc -l <<<"$made")" -ge 6 ]
    if grep -v "=$uid\$" <<<"$made"; then fail "not the plane's"; fi
    lacks "$(hk get clusterroles,clusterrolebindings -o name)" "/$plane"
  done
  lacks "$(hk get clusterroles,clusterrolebindings -o name)" k3s-scripts
}

@test "kube-public/cluster-info says where neighbours reach the plane, and the Jobs of old are complete" {
  host=$(hk get configmap -n kubeflex-system kubeflex-config -o 'jsonpath={.data.hostContainer}')
  for plane in v1 o1; do
    service=vcluster-nodeport
    [[ $plane == v1 ]] || service=multicluster-controlplane
    port=$(hk get service -n "$plane-system" "$service" -o 'jsonpath={.spec.ports[0].nodePort}')
    contains "$(gk "$plane" get configmap -n kube-public cluster-info -o 'jsonpath={.data.kubeconfig}')" "https://$host:$port"
  done
  for plane in "${PLANES[@]}"; do
    hk wait -n "$plane-system" --for=condition=Complete "job/${JOB[$plane]}" --timeout=30s
  done
}

says_refused() { [[ $(gk v1 get pod "$1" -o 'jsonpath={.status.message}') == *"$2"* ]]; }
quota_is() { [ "$(hk get resourcequota -n v1-system limits -o 'jsonpath={.spec.hard.pods}')" = "$1" ]; }
tenant_pod() { gk v1 run "$1" --image=registry.k8s.io/pause:3.10 --restart=Never "${@:2}"; }

@test "pods of a vcluster run on the hosting cluster's nodes, under the quota that a hook made and its policy" {
  tenant_pod p1
  hk wait -n v1-system --for=create pod/p1-x-default-x-vcluster --timeout=30s
  hk wait -n v1-system --for=condition=Ready pod/p1-x-default-x-vcluster --timeout=30s
  [ -n "$(hk get pod -n v1-system p1-x-default-x-vcluster -o 'jsonpath={.spec.nodeName}')" ]
  [ "$(hk get pod -n v1-system p1-x-default-x-vcluster -o 'jsonpath={.spec.serviceAccountName}')" = vc-workload-vcluster ]
  # Not the node's: the Namespace enforces the level baseline.
  tenant_pod evil --overrides='{"spec":{"hostPID":true}}'
  hk patch controlplane v1 --type merge -p '{"spec":{"postCreateHookVars":{"PODS":"1"}}}'
  within 10 quota_is 1
  tenant_pod p2
  within 20 says_refused evil PodSecurity
  within 20 says_refused p2 quota
  hk patch controlplane v1 --type merge -p '{"spec":{"postCreateHookVars":null}}'
  within 10 quota_is 20
  [ "$(hk get networkpolicy -n v1-system limits -o 'jsonpath={.spec.podSelector.matchLabels}')" = '{"vcluster.loft.sh/managed-by":"vcluster"}' ]
  [ "$(hk get pod -n v1-system p1-x-default-x-vcluster -o 'jsonpath={.metadata.labels.vcluster\.loft\.sh/managed-by}')" = vcluster ]
  gk v1 delete pod p1 p2 evil --wait=false
  hk wait -n v1-system --for=delete pod/p1-x-default-x-vcluster --timeout=45s
}

usable() { gk "$1" get configmap e2e >/dev/null; }

@test "what is deleted or edited is back within 5 s, and the planes work on" {
  drift "${PLANES[@]}"
  each await_ready
  for plane in "${PLANES[@]}"; do within 30 usable "$plane" || fail "$plane"; done
}

no_pod_of() { [ -z "$(hk get pods -n kubeflex-system -l "app.kubernetes.io/name=$1" -o name)" ]; }

# The program has its credentials, and writes them when it starts. While they go nobody is there who would make one of the other.
lose_secrets() {
  local reconciler=kubeflex-reconciler-${TYPE[$1]}
  hk scale -n kubeflex-system deployment "$reconciler" --replicas=0
  within 30 no_pod_of "$reconciler" || fail "$reconciler does not end"
  hk delete secret -n "$1-system" "${SECRET[$1]}" "${COPY[$1]}"
  hk scale -n kubeflex-system deployment "$reconciler" --replicas=1
  await_reason "$1" Synced WaitingForCredentials 30
}

lose_pod() {
  hk delete -n "$1-system" "$(hk get pods -n "$1-system" -l "kflex.kubestellar.org/controlplane=$1" -o name | head -n 1)" --grace-period=1 --wait=false
}

lose() {
  if [[ -n ${COPY[$1]} ]]; then lose_secrets "$1"; else lose_pod "$1"; fi
  hk wait --for=condition=Ready=False "controlplane/$1" --timeout=30s
  await_ready "$1"
  within 10 usable "$1" || fail "$1"
}

@test "credentials come back by themselves where all copies were deleted; data outlive the pod, and Ready follows it" { each lose; }

@test "type cannot change" {
  run hk patch controlplane k1 --type merge -p '{"spec":{"type":"vcluster"}}'
  [ "$status" -ne 0 ]
  contains "$output" 'type cannot change'
}

# Those that run nothing of ours may nothing at home either.
idle() {
  local account
  for account in v1-system:{vc-workload-vcluster,default} {k1,o1}-system:default; do question "$account" "${account%:*}" get secrets; done
  question o1-system:multicluster-controlplane-sa o1-system list secrets
}

@test "nobody in one plane's namespace may read or do anything in another's, or in KubeFlex's" {
  all=$(matrix v1-system k1-system o1-system; idle)
  for account in v1-system:{vc-vcluster,vc-workload-vcluster,default} k1-system:default o1-system:{multicluster-controlplane-sa,default}; do
    contains "$all" "system:serviceaccount:$account"
  done
  [ -z "$(answers <<<"$all")" ] || fail "$(answers <<<"$all")"
  # That such questions are answered with yes at all.
  [ "$(question v1-system:vc-vcluster v1-system get secrets | answers)" = 'system:serviceaccount:v1-system:vc-vcluster get secrets v1-system' ]
}

# shellcheck disable=SC2016 # a Go template, not the shell's
versions() {
  local plane
  for plane in "${PLANES[@]}"; do
    hk get -n "$plane-system" secrets,services,serviceaccounts,roles,rolebindings,ingresses,jobs -l "kflex.kubestellar.org/controlplane=$plane" \
      -o 'jsonpath={range .items[*]}{.kind}/{.metadata.name}/{.metadata.resourceVersion}{"\n"}{end}'
    hk get -n "$plane-system" "${WORKLOAD[$plane]}" -o 'jsonpath={.metadata.generation}{"\n"}'
  done
}

@test "a restart of all our programs changes nothing" {
  before=$(versions)
  hk rollout restart -n kubeflex-system deployment >/dev/null
  hk rollout status -n kubeflex-system deployment --timeout=120s >/dev/null
  each await_ready
  [ "$(versions)" = "$before" ] || fail "$(diff <(printf '%s\n' "$before") <(versions))"
}

@test "the first k3s plane deleted leaves the others working (B-04); then nothing is left of any" {
  gk k2 create configmap e2e
  KUBECONFIG=$(config_of k1) kflex delete k1
  gk k2 get configmap e2e
  gk k2 auth can-i '*' '*'
  gk v1 get configmap e2e
  gk o1 get configmap e2e
  for plane in v1 o1 k2; do KUBECONFIG=$(config_of "$plane") kflex delete "$plane" & done
  wait
  for plane in "${PLANES[@]}" k2; do
    lacks "$(hk get controlplanes,namespaces -o name)" "/$plane"
    [ -z "$(hk get persistentvolumeclaims -n "$plane-system" -o name)" ]
  done
  for plane in "${PLANES[@]}" k2; do lacks "$(kubectl config view --kubeconfig "$(config_of "$plane")")" "$plane-cluster"; done
}
