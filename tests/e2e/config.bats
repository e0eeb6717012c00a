#!/usr/bin/env bats
# ConfigMap kubeflex-config: what each key does to the objects and the kubeconfigs of a plane that exists, and what a wrong
# one says.
# shellcheck disable=SC2154 # bats sets output, status, stderr
# bats file_tags=alone

bats_require_minimum_version 1.5.0

PLANE=conf
NS=conf-system

setup_file() {
  load lib.bash
  e2e_setup_file
  hk get configmap kubeflex-config -n kubeflex-system -o json >"$BATS_FILE_TMPDIR/config.json"
  kflex create "$PLANE" --timeout "$READY_TIMEOUT"
}

teardown_file() {
  load lib.bash
  config_restore
  hk delete crd routes.route.openshift.io --ignore-not-found --timeout="$GONE_TIMEOUT"
  planes_delete "$PLANE" conf-new
}

setup() {
  load lib.bash
  KUBECONFIG_OF_PLANE=$BATS_TEST_TMPDIR/plane.kubeconfig
}

# The ConfigMap as it was before, whatever became of it.
config_restore() {
  hk create -n kubeflex-system --dry-run=client -o json -f "$BATS_FILE_TMPDIR/config.json" |
    python3 -c 'import json, sys
before = json.load(sys.stdin)
print(json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kubeflex-config", "labels": before["metadata"].get("labels", {})},
                  "data": before["data"]}))' | hk replace --force -n kubeflex-system -f -
}

# config KEY VALUE…: sets these keys; the value null takes a key away.
config() {
  local patch
  patch=$(python3 -c 'import json, sys
words = sys.argv[1:]
print(json.dumps({"data": {k: None if v == "null" else v for k, v in zip(words[::2], words[1::2])}}))' "$@")
  hk patch configmap kubeflex-config -n kubeflex-system --type merge -p "$patch"
}

config_value() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["data"].get(sys.argv[2], ""))' "$BATS_FILE_TMPDIR/config.json" "$1"; }

# await OBJECT JSONPATH VALUE: in the plane's namespace.
await() { hk wait -n "$NS" "$1" --for=jsonpath="$2=$3" --timeout=60s; }
await_synced() { hk wait controlplane/"$PLANE" --for=jsonpath='{.status.conditions[?(@.type=="Synced")].reason}'="$1" --timeout=60s; }

# kubeconfig_says [HOST] TEXT: within some seconds the off-cluster kubeconfig has this line. There is no event to wait for by
# content, so each new version of the Secret is looked at.
kubeconfig_says() {
  local end=$((SECONDS + 30))
  until secret_value "$NS" admin-kubeconfig kubeconfig >"$KUBECONFIG_OF_PLANE" && grep -qF -- "$1" "$KUBECONFIG_OF_PLANE"; do
    ((SECONDS < end)) || fail "no \"$1\" in: $(grep -E 'server' "$KUBECONFIG_OF_PLANE")"
    sleep 0.2
  done
}

# cert_names: what the serving certificate is good for.
cert_names() { secret_value "$NS" k8s-certs apiserver.crt | openssl x509 -noout -ext subjectAltName; }

@test "domain and externalPort: host of the Ingress, URL of the kubeconfig, a name in the certificate" {
  config domain planes.example.com externalPort 8443 externalAddress null
  kubeconfig_says "server: https://$PLANE.planes.example.com:8443"
  lacks "$(<"$KUBECONFIG_OF_PLANE")" tls-server-name
  await ingress/"$PLANE" '{.spec.rules[0].host}' "$PLANE.planes.example.com"
  contains "$(cert_names)" "DNS:$PLANE.planes.example.com"
  await_synced ReconcileSuccess
}

@test "externalAddress: reached by address, told apart by tls-server-name, good for the certificate" {
  config domain localtest.me externalPort 9443 externalAddress 192.0.2.55
  kubeconfig_says 'server: https://192.0.2.55:9443'
  contains "$(<"$KUBECONFIG_OF_PLANE")" "tls-server-name: $PLANE.localtest.me"
  contains "$(cert_names)" 'IP Address:192.0.2.55'
  config externalAddress "$(config_value externalAddress)"
  kubeconfig_says "server: https://$(config_value externalAddress):9443"
}

@test "hostContainer: a name in the certificate, and the host of node ports without externalAddress" {
  config hostContainer node.example.com exposure nodeport externalAddress null
  port=$(hk get service -n "$NS" "$PLANE" -o 'jsonpath={.spec.ports[0].nodePort}')
  kubeconfig_says "server: https://node.example.com:$port"
  contains "$(cert_names)" DNS:node.example.com
  config hostContainer "$(config_value hostContainer)" exposure null externalAddress "$(config_value externalAddress)"
}

@test "ingressClass and ingressAnnotations: in the Ingress, and gone from it again" {
  config ingressClass other ingressAnnotations $'example.com/one: "1"\nnginx.ingress.kubernetes.io/ssl-passthrough: "false"'
  await ingress/"$PLANE" '{.spec.ingressClassName}' other
  [ "$(hk get ingress -n "$NS" "$PLANE" -o 'jsonpath={.metadata.annotations.example\.com/one}')" = 1 ]
  [ "$(hk get ingress -n "$NS" "$PLANE" -o 'jsonpath={.metadata.annotations.nginx\.ingress\.kubernetes\.io/ssl-passthrough}')" = false ]
  config ingressClass null ingressAnnotations null
  await ingress/"$PLANE" '{.spec.ingressClassName}' nginx
  [ -z "$(hk get ingress -n "$NS" "$PLANE" -o 'jsonpath={.metadata.annotations.example\.com/one}')" ]
  [ "$(hk get ingress -n "$NS" "$PLANE" -o 'jsonpath={.metadata.annotations.nginx\.ingress\.kubernetes\.io/ssl-passthrough}')" = true ]
}

@test "exposure nodeport: no Ingress, and the kubeconfig works by the node's port" {
  config exposure nodeport
  hk wait -n "$NS" --for=delete ingress/"$PLANE" --timeout=60s
  [ "$(hk get service -n "$NS" "$PLANE" -o 'jsonpath={.spec.type}')" = NodePort ]
  port=$(hk get service -n "$NS" "$PLANE" -o 'jsonpath={.spec.ports[0].nodePort}')
  kubeconfig_says "server: https://$(config_value externalAddress):$port"
  # The certificate of the running server names the node once the kubelet has brought the new Secret into the pod.
  within 150 kubectl --kubeconfig "$KUBECONFIG_OF_PLANE" get namespace default
}

@test "exposure loadbalancer: an address that comes later goes into kubeconfig and certificate" {
  config exposure loadbalancer
  await service/"$PLANE" '{.spec.type}' LoadBalancer
  hk patch service -n "$NS" "$PLANE" --subresource=status --type merge -p '{"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.66"}]}}}'
  kubeconfig_says 'server: https://192.0.2.66:443'
  contains "$(cert_names)" 'IP Address:192.0.2.66'
}

@test "exposure none: a ClusterIP and no Ingress; ingress: as ever" {
  config exposure none
  await service/"$PLANE" '{.spec.type}' ClusterIP
  [ -z "$(hk get ingress -n "$NS" -o name)" ]
  [ -z "$(hk get service -n "$NS" "$PLANE" -o 'jsonpath={.spec.ports[0].nodePort}')" ]
  config exposure ingress
  hk wait -n "$NS" --for=create ingress/"$PLANE" --timeout=60s
  await service/"$PLANE" '{.spec.type}' NodePort
  kubeconfig_says "server: https://$(config_value externalAddress):9443"
}

@test "kubernetesVersion: of new planes only, and recorded in their status" {
  config kubernetesVersion v1.36.2
  plane_apply conf-new
  hk wait -n conf-new-system --for=create deployment/kube-apiserver --timeout=60s
  [ "$(hk get controlplane conf-new -o 'jsonpath={.status.kubernetesVersion}')" = v1.36.2 ]
  [ "$(hk get deployment -n conf-new-system kube-apiserver -o 'jsonpath={.spec.template.spec.containers[0].image}')" = registry.k8s.io/kube-apiserver:v1.36.2 ]
  [ "$(hk get deployment -n conf-new-system kube-controller-manager -o 'jsonpath={.spec.template.spec.containers[0].image}')" = registry.k8s.io/kube-controller-manager:v1.36.2 ]
  [ "$(hk get controlplane "$PLANE" -o 'jsonpath={.status.kubernetesVersion}')" = v1.36.3 ]
  [ "$(hk get deployment -n "$NS" kube-apiserver -o 'jsonpath={.spec.template.spec.containers[0].image}')" = registry.k8s.io/kube-apiserver:v1.36.3 ]
  config kubernetesVersion null
  planes_delete conf-new
}

@test "resourceProfile: settings and limits of the plane's containers" {
  limit() { hk get deployment -n "$NS" kube-apiserver -o 'jsonpath={.spec.template.spec.containers[0].resources.limits.memory}'; }
  before=$(limit)
  config resourceProfile small
  hk wait -n "$NS" deployment/kube-apiserver --for=jsonpath='{.metadata.generation}'=2 --timeout=60s
  [ "$(limit)" != "$before" ]
  hk rollout status -n "$NS" deployment/kube-apiserver --timeout=120s
  hk wait --for=condition=Ready controlplane/"$PLANE" --timeout=60s
  config resourceProfile null
  hk wait -n "$NS" deployment/kube-apiserver --for=jsonpath='{.metadata.generation}'=3 --timeout=60s
  [ "$(limit)" = "$before" ]
}

@test "isOpenShift without Routes says so, and heals when it is set back" {
  config isOpenShift true
  await_synced InvalidConfig
  contains "$(condition "$PLANE" Synced message)" 'key isOpenShift is true, but this cluster serves no Routes'
  config isOpenShift false
  await_synced ReconcileSuccess
}

@test "isOpenShift: a Route instead of the Ingress, its host in kubeconfig and certificate, no fixed user" {
  hk apply -f - <<'YAML'
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: routes.route.openshift.io}
spec:
  group: route.openshift.io
  scope: Namespaced
  names: {plural: routes, singular: route, kind: Route}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
YAML
  within 60 hk wait --for=condition=Established crd/routes.route.openshift.io --timeout=60s
  hk get routes -n "$NS"
  config isOpenShift true
  hk wait -n "$NS" --for=create route/"$PLANE" --timeout=60s
  [ "$(hk get route -n "$NS" "$PLANE" -o 'jsonpath={.spec.tls.termination}')" = passthrough ]
  # The router's part. The watcher, which runs since before there were Routes, sees it.
  hk patch route -n "$NS" "$PLANE" --type merge -p '{"spec": {"host": "conf.apps.example.com"}}'
  kubeconfig_says 'server: https://conf.apps.example.com'
  contains "$(cert_names)" DNS:conf.apps.example.com
  hk wait -n "$NS" --for=delete ingress/"$PLANE" --timeout=60s
  [ -z "$(hk get deployment -n "$NS" kube-apiserver -o 'jsonpath={.spec.template.spec.securityContext.runAsUser}')" ]
  config isOpenShift false
  hk wait -n "$NS" --for=create ingress/"$PLANE" --timeout=60s
  await_synced ReconcileSuccess
}

@test "a value that cannot be used names the key and what is allowed; the plane runs on; mending heals" {
  hk rollout status -n "$NS" deployment/kube-apiserver --timeout=120s
  hk wait --for=condition=Ready controlplane/"$PLANE" --timeout=60s
  config exposure everywhere
  await_synced InvalidConfig
  contains "$(condition "$PLANE" Synced message)" 'key exposure is "everywhere", but must be ingress, nodeport, loadbalancer or none'
  [ "$(condition "$PLANE" Ready status)" = True ]
  config exposure null domain null
  hk wait controlplane/"$PLANE" --for=jsonpath='{.status.conditions[?(@.type=="Synced")].message}'='ConfigMap kubeflex-config: key domain is missing: add it' --timeout=60s
  config domain localtest.me
  await_synced ReconcileSuccess
}

@test "a ConfigMap that is deleted is told, and made again heals" {
  hk delete configmap kubeflex-config -n kubeflex-system
  await_synced InvalidConfig
  contains "$(condition "$PLANE" Synced message)" 'create it'
  config_restore
  await_synced ReconcileSuccess
}

@test "a change that no object shows writes nothing" {
  local log=${KUBEFLEX_STATE:-/var/lib/kubeflex-local}/$INSTANCE/logs/audit.log
  hk wait --for=condition=Ready controlplane/"$PLANE" --timeout="$READY_TIMEOUT"
  before=$(stat -c %s "$log")
  config kubernetesVersion v1.35.0 unknownKey any
  # It has been seen once the reconciler has read it, and acted upon with the next thing that is.
  hk annotate configmap kubeflex-config -n kubeflex-system --overwrite e2e/touched=2
  end=$((SECONDS + 30))
  until (($(audit_of "$log" "$before" | grep -c '^get configmaps$') >= 2)); do ((SECONDS < end)) || fail 'the reconciler did not read the ConfigMap'; sleep 0.2; done
  run audit_of "$log" "$before"
  lacks "$output" patch
  lacks "$output" create
  lacks "$output" update
  config kubernetesVersion null unknownKey null
}

# audit_of LOG OFFSET: "verb resource" of what the watcher and the reconciler did since, the Lease aside.
audit_of() {
  tail -c "+$(($2 + 1))" "$1" | python3 -c 'import json, sys
for line in sys.stdin:
    try:
        event = json.loads(line)
    except ValueError:
        continue
    if event["user"]["username"] in ("system:serviceaccount:kubeflex-system:kubeflex-watcher", "system:serviceaccount:kubeflex-system:kubeflex-reconciler-k8s"):
        ref = event.get("objectRef") or {}
        if ref.get("resource") != "leases":
            print(event["verb"], ref.get("resource"))'
}
