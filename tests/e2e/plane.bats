#!/usr/bin/env bats
# A control plane of type k8s from create to use: what the user gets, on and off the cluster, and what the contract names.
# shellcheck disable=SC2154 # bats sets output, status, stderr

bats_require_minimum_version 1.5.0

setup_file() {
  load lib.bash
  e2e_setup_file
  kflex create cp1 --timeout "$READY_TIMEOUT" >"$BATS_FILE_TMPDIR/create.out" 2>"$BATS_FILE_TMPDIR/create.err"
}

teardown_file() {
  load lib.bash
  planes_delete cp1 cp2
}

setup() { load lib.bash; }

@test "create prints its steps, nothing on stderr, and makes the context the current one" {
  out=$(<"$BATS_FILE_TMPDIR/create.out")
  contains "$out" 'Creating new control plane cp1 of type k8s'
  contains "$out" 'Storage is ready'
  contains "$out" 'All objects of the control plane are in place'
  contains "$out" 'API server is ready'
  contains "$out" 'Switched to context cp1'
  [ ! -s "$BATS_FILE_TMPDIR/create.err" ]
  [ "$(kubectl config view -o 'jsonpath={.contexts[?(@.name=="cp1")].context.cluster}')" = cp1-cluster ]
  [ "$(kubectl config view -o 'jsonpath={.contexts[?(@.name=="cp1")].context.user}')" = cp1-admin ]
}

@test "conditions Synced, Ready and StorageReady are True, with the generation observed" {
  hk wait --for=condition=Ready controlplane/cp1 --timeout="$READY_TIMEOUT"
  [ "$(condition cp1 Synced status)/$(condition cp1 Synced reason)" = True/ReconcileSuccess ]
  [ "$(condition cp1 Ready status)/$(condition cp1 Ready reason)" = True/Available ]
  [ "$(condition cp1 StorageReady status)/$(condition cp1 StorageReady reason)" = True/DatabaseReady ]
  [ "$(hk get controlplane cp1 -o 'jsonpath={.status.observedGeneration}')" = "$(hk get controlplane cp1 -o 'jsonpath={.metadata.generation}')" ]
}

@test "printer columns are SYNCED, READY, TYPE, AGE" {
  run hk get cp
  read -ra head <<<"${lines[0]}"
  [ "${head[*]}" = 'NAME SYNCED READY TYPE AGE' ]
  row=$(grep '^cp1 ' <<<"$output")
  read -ra row <<<"$row"
  [ "${row[*]:1:3}" = 'True True k8s' ]
}

@test "status.secretRef names the kubeconfig Secret as ever" {
  ref=$(hk get controlplane cp1 -o 'jsonpath={.status.secretRef.namespace} {.status.secretRef.name} {.status.secretRef.key} {.status.secretRef.inClusterKey}')
  [ "$ref" = 'cp1-system admin-kubeconfig kubeconfig kubeconfig-incluster' ]
}

@test "the finalizer and the owner of the namespace are right" {
  contains "$(hk get controlplane cp1 -o 'jsonpath={.metadata.finalizers}')" kflex.kubestellar.org/finalizer
  owner=$(hk get namespace cp1-system -o 'jsonpath={.metadata.ownerReferences[0].kind} {.metadata.ownerReferences[0].uid} {.metadata.ownerReferences[0].controller}')
  [ "$owner" = "ControlPlane $(plane_uid cp1) true" ]
}

@test "objects are written and read through the ingress" {
  pk cp1 create namespace demo
  pk cp1 create configmap -n demo settings --from-literal=colour=red
  [ "$(pk cp1 get configmap -n demo settings -o 'jsonpath={.data.colour}')" = red ]
  pk cp1 patch configmap -n demo settings -p '{"data":{"colour":"blue"}}'
  [ "$(pk cp1 get configmap -n demo settings -o 'jsonpath={.data.colour}')" = blue ]
  pk cp1 delete namespace demo --timeout="$GONE_TIMEOUT"
}

@test "the version of the plane is the default one" {
  [ "$(pk cp1 version -o json | python3 -c 'import json, sys; print(json.load(sys.stdin)["serverVersion"]["gitVersion"])')" = v1.36.3 ]
}

@test "in the cluster a pod reaches the plane by its Service name" {
  hk delete pod -n cp1-system e2e-client --ignore-not-found --timeout="$GONE_TIMEOUT"
  hk apply -f - <<YAML
apiVersion: v1
kind: Pod
metadata: {name: e2e-client, namespace: cp1-system}
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  containers:
  - name: kubectl
    image: $KUBECTL_IMAGE
    imagePullPolicy: IfNotPresent
    args: [--kubeconfig=/plane/kubeconfig-incluster, create, configmap, from-inside, -n, default, --from-literal=a=b]
    volumeMounts: [{name: plane, mountPath: /plane, readOnly: true}]
  volumes:
  - name: plane
    secret: {secretName: admin-kubeconfig}
YAML
  hk wait -n cp1-system pod/e2e-client --for=jsonpath='{.status.phase}'=Succeeded --timeout=60s ||
    fail "$(hk logs -n cp1-system e2e-client)"
  [ "$(pk cp1 get configmap -n default from-inside -o 'jsonpath={.data.a}')" = b ]
  hk delete pod -n cp1-system e2e-client --timeout="$GONE_TIMEOUT"
  pk cp1 delete configmap -n default from-inside
}

@test "in the cluster the serving certificate is right for OpenSSL too" {
  secret_value cp1-system k8s-certs ca.crt >"$BATS_TEST_TMPDIR/ca.crt"
  ip=$(hk get service -n cp1-system cp1 -o 'jsonpath={.spec.clusterIP}')
  name=cp1.cp1-system.svc.cluster.local
  # The certificate authority goes in by stdin: the node has a file system of its own.
  run in_node curl -sS --cacert /dev/stdin --resolve "$name:443:$ip" "https://$name/version" <"$BATS_TEST_TMPDIR/ca.crt"
  [ "$status" -eq 0 ]
  contains "$output" v1.36.3
}

@test "the plane's own controllers work: service accounts and the root certificate" {
  pk cp1 wait --for=create serviceaccount/default -n default --timeout=60s
  pk cp1 wait --for=create configmap/kube-root-ca.crt -n default --timeout=60s
  pk cp1 create token default -n default | grep -q '\.'
}

@test "the plane's own controllers work: a namespace and what is in it go" {
  pk cp1 create namespace going
  pk cp1 wait --for=create serviceaccount/default -n going --timeout=60s
  pk cp1 create configmap -n going thing
  pk cp1 delete namespace going --timeout=60s
}

@test "the plane's own controllers work: the garbage collector follows owners" {
  pk cp1 create configmap -n default owner
  uid=$(pk cp1 get configmap -n default owner -o 'jsonpath={.metadata.uid}')
  pk cp1 apply -f - <<YAML
apiVersion: v1
kind: ConfigMap
metadata:
  name: owned
  namespace: default
  ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: owner, uid: $uid}]
YAML
  pk cp1 delete configmap -n default owner
  pk cp1 wait --for=delete configmap/owned -n default --timeout=90s
}

@test "custom resources work in the plane" {
  pk cp1 apply -f - <<'YAML'
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
YAML
  # Again, because kubectl wait fails at once while there are no conditions at all yet.
  within 60 pk cp1 wait --for=condition=Established crd/widgets.example.com --timeout=60s
  pk cp1 apply -f - <<'YAML'
{apiVersion: example.com/v1, kind: Widget, metadata: {name: gear, namespace: default}, spec: {teeth: 12}}
YAML
  run pk cp1 get widget gear -n default -o 'jsonpath={.spec.teeth}'
  [ "$output" = 12 ]
  # A kind whose storage was never used may take five minutes to go: docs/users.md, Troubleshooting.
  pk cp1 delete crd widgets.example.com --timeout=60s
  run pk cp1 get widget gear -n default
  [ "$status" -ne 0 ]
}

@test "a second plane does not see the first one's objects" {
  pk cp1 create namespace mine
  kflex create cp2 --timeout "$READY_TIMEOUT"
  run pk cp2 get namespaces -o name
  [ "$status" -eq 0 ]
  contains "$output" namespace/default
  lacks "$output" namespace/mine
  # Nor do the first one's credentials open the second one.
  kubectl config set-context mixed --cluster=cp2-cluster --user=cp1-admin
  run pk mixed get namespaces
  [ "$status" -ne 0 ]
  contains "$output" Unauthorized
  kubectl config delete-context mixed
  pk cp1 delete namespace mine --timeout=60s
  kflex delete cp2
}

@test "Secrets and their keys are as the contract has them" {
  read -ra keys <<<"$(secret_keys cp1-system k8s-certs)"
  for key in ca.key ca.crt apiserver.key apiserver.crt apiserver-kubelet-client.key apiserver-kubelet-client.crt \
    front-proxy-ca.crt front-proxy-client.key front-proxy-client.crt sa.key sa.pub; do
    contains " ${keys[*]} " " $key "
  done
  contains "$(secret_keys cp1-system admin-kubeconfig)" 'kubeconfig kubeconfig-incluster '
  contains "$(secret_keys cp1-system cm-kubeconfig)" kubeconfig
  contains "$(secret_keys cp1-system kine-dsn)" endpoint
  contains "$(secret_value cp1-system admin-kubeconfig kubeconfig-incluster)" 'https://cp1.cp1-system.svc.cluster.local'
  hk get -n cp1-system deployment/kube-apiserver deployment/kube-controller-manager service/cp1 ingress/cp1
}

@test "the superuser's password is nowhere in the tenant's namespace" {
  password=$(secret_value kubeflex-system postgres-postgresql postgres-password)
  [ -n "$password" ]
  hk get secrets -n cp1-system -o json >"$BATS_TEST_TMPDIR/secrets.json"
  hk get all,configmaps,ingresses -n cp1-system -o yaml >"$BATS_TEST_TMPDIR/rest.yaml"
  PASSWORD=$password python3 - "$BATS_TEST_TMPDIR" <<'PYTHON'
import base64, json, os, sys
password, folder = os.environ["PASSWORD"], sys.argv[1]
with open(f"{folder}/rest.yaml", encoding="utf-8") as f:
    assert password not in f.read(), "in an object"
with open(f"{folder}/secrets.json", encoding="utf-8") as f:
    for secret in json.load(f)["items"]:
        for key, value in (secret.get("data") or {}).items():
            assert password.encode() not in base64.b64decode(value), f'in {secret["metadata"]["name"]}/{key}'
PYTHON
  lacks "$(secret_value cp1-system kine-dsn endpoint)" '//postgres:'
}

@test "the plane's database belongs to its own role, which is no superuser" {
  uid=$(plane_uid cp1)
  [ "$(databases_of "$uid" | wc -l)" -eq 1 ]
  run roles_of "$uid"
  [ "${#lines[@]}" -ge 2 ]
  [ "$(sql "select count(*) from pg_roles where rolname like '%\\_${uid//-/}%' and (rolsuper or rolcreatedb or rolcreaterole)")" = 0 ]
}

@test "keys of certificate authorities are not in the API server's pod" {
  hk get pods -n cp1-system -l app=kube-apiserver -o json >"$BATS_TEST_TMPDIR/pods.json"
  python3 - "$BATS_TEST_TMPDIR/pods.json" <<'PYTHON'
import json, sys
with open(sys.argv[1], encoding="utf-8") as f:
    pods = json.load(f)["items"]
assert pods, "no pod"
for pod in pods:
    for volume in pod["spec"]["volumes"]:
        sources = [volume] + volume.get("projected", {}).get("sources", [])
        for source in sources:
            secret = source.get("secret")
            if not secret or "k8s-certs" not in (secret.get("secretName"), secret.get("name")):
                continue
            items = secret.get("items")
            assert items, f'volume {volume["name"]} has the whole Secret'
            keys = {item["key"] for item in items}
            assert not keys & {"ca.key", "front-proxy-ca.key"}, keys
PYTHON
}

@test "a deleted kubeconfig Secret is rebuilt, and works" {
  old=$(hk get secret -n cp1-system admin-kubeconfig -o 'jsonpath={.metadata.uid}')
  hk delete secret -n cp1-system admin-kubeconfig
  hk wait --for=create secret/admin-kubeconfig -n cp1-system --timeout=60s
  [ "$(hk get secret -n cp1-system admin-kubeconfig -o 'jsonpath={.metadata.uid}')" != "$old" ]
  kflex ctx -o cp1
  pk cp1 get namespaces
}
