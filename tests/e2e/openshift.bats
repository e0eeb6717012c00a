#!/usr/bin/env bats
# OpenShift: Routes instead of Ingresses, and no fixed users in pods. The local cluster is given the definition of Route
# (route-crd.yaml) and a policy that gives pods a user as OpenShift's security context constraints do, and these tests are the router
# that chooses host names. The plane is of type vcluster (a stand-in, as in guests.bats).
# shellcheck disable=SC2154 # bats sets output, status, stderr
# bats file_tags=alone

bats_require_minimum_version 1.5.0

setup_file() {
  load lib.bash
  e2e_setup_file
  if [ -z "$(hk get storageclass -o name)" ]; then volume_make; fi
  hk apply --server-side -f "$BATS_TEST_DIRNAME/route-crd.yaml"
  within 60 hk wait --for=condition=Established crd/routes.route.openshift.io --timeout=30s
  users_assign
  config_set isOpenShift true
}

teardown_file() {
  load lib.bash
  config_set isOpenShift false
  planes_delete r1
  hk delete crd routes.route.openshift.io --ignore-not-found --timeout=60s
  hk delete persistentvolume e2e-r1 --ignore-not-found
  hk delete mutatingadmissionpolicy,mutatingadmissionpolicybinding e2e-openshift --ignore-not-found
  in_node rm -rf /var/lib/kubeflex-e2e-r1
}

setup() { load lib.bash; }

volume_make() {
  in_node mkdir -p /var/lib/kubeflex-e2e-r1
  in_node chmod 0777 /var/lib/kubeflex-e2e-r1
  hk apply -f - <<'YAML'
apiVersion: v1
kind: PersistentVolume
metadata: {name: e2e-r1}
spec:
  capacity: {storage: 5Gi}
  accessModes: [ReadWriteOnce]
  claimRef: {namespace: r1-system, name: data-vcluster-0}
  hostPath: {path: /var/lib/kubeflex-e2e-r1}
YAML
}

# Each Namespace of OpenShift has a range of users; pods that ask for none get its first one.
users_assign() {
  hk apply -f - <<'YAML'
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: e2e-openshift}
spec:
  failurePolicy: Fail
  reinvocationPolicy: Never
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: r1-system}}
    resourceRules:
    - {apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}
  matchConditions:
  - {name: asks-for-none, expression: "!has(object.spec.securityContext.runAsUser)"}
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration:
      expression: "Object{spec: Object.spec{securityContext: Object.spec.securityContext{runAsUser: 1000650000, fsGroup: 1000650000}}}"
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: e2e-openshift}
spec: {policyName: e2e-openshift}
YAML
}

route() { hk get route -n r1-system r1 -o "jsonpath=$1"; }

@test "the plane waits for the router to choose a host, and says so" {
  plane_apply r1 vcluster
  hk wait -n r1-system --for=create route/r1 --timeout=30s
  says_waiting() { [[ $(condition r1 Synced message) == *'no host name yet'* ]]; }
  within 10 says_waiting
}

@test "the Route keeps every field under the definition's rules, and there is no Ingress" {
  [ "$(route '{.spec}')" = '{"port":{"targetPort":"https"},"tls":{"insecureEdgeTerminationPolicy":"None","termination":"passthrough"},"to":{"kind":"Service","name":"vcluster","weight":100},"wildcardPolicy":"None"}' ] ||
    fail "$(route '{.spec}')"
  [ "$(route '{.metadata.annotations.openshift\.io/host\.generated}')" = true ]
  [ "$(hk get service -n r1-system vcluster -o 'jsonpath={.spec.ports[?(@.name=="https")].port}')" = 443 ]
  [ -z "$(hk get ingress -n r1-system -o name)" ]
}

@test "with a host it goes on by the event: kubeconfig, certificate and cluster-info have that name" {
  hk patch route -n r1-system r1 --type merge --field-manager=router -p '{"spec":{"host":"r1.apps.example.com"}}'
  hk wait --for=condition=Ready controlplane/r1 --timeout=120s
  contains "$(secret_value r1-system vc-vcluster config)" 'server: https://r1.apps.example.com'
  lacks "$(secret_value r1-system vc-vcluster config)" ':9443'
  contains "$(secret_value r1-system vc-config-vcluster config.yaml)" r1.apps.example.com
  secret_value r1-system vc-vcluster config >"$BATS_TEST_TMPDIR/config"
  service=$(hk get service -n r1-system vcluster -o 'jsonpath={.spec.clusterIP}')
  # As the router would: the name in the handshake, and the certificate has it.
  secret_value r1-system vc-vcluster certificate-authority >"$BATS_TEST_TMPDIR/ca"
  # kube-proxy follows the ready pod a moment later.
  within 15 in_node curl -sS --max-time 10 --cacert "$BATS_TEST_TMPDIR/ca" --connect-to "r1.apps.example.com:443:$service:443" https://r1.apps.example.com/readyz
  secret_value r1-system vc-vcluster client-certificate >"$BATS_TEST_TMPDIR/crt"
  secret_value r1-system vc-vcluster client-key >"$BATS_TEST_TMPDIR/key"
  contains "$(in_node curl -sS --max-time 10 --cacert "$BATS_TEST_TMPDIR/ca" --cert "$BATS_TEST_TMPDIR/crt" --key "$BATS_TEST_TMPDIR/key" \
    "https://vcluster.r1-system.svc/api/v1/namespaces/kube-public/configmaps/cluster-info" --connect-to "::$service:443")" 'server: https://r1.apps.example.com'
  [ "$(hk get statefulset -n r1-system vcluster -o 'jsonpath={.spec.template.spec.securityContext}')" = '{"runAsNonRoot":true,"seccompProfile":{"type":"RuntimeDefault"}}' ]
  [ "$(hk get pod -n r1-system vcluster-0 -o 'jsonpath={.spec.securityContext.runAsUser}')" = 1000650000 ]
}

@test "a Route that is deleted or edited is back within 5 s, and the router chooses again" {
  hk delete route -n r1-system r1
  is_back() { [ "$(route '{.spec.to.name}')" = vcluster ]; }
  within 5 is_back
  hk patch route -n r1-system r1 --type merge --field-manager=router -p '{"spec":{"host":"r1.apps.example.com"}}'
  hk patch route -n r1-system r1 --type merge -p '{"spec":{"to":{"name":"other"}}}'
  within 5 is_back
  [ "$(route '{.spec.host}')" = r1.apps.example.com ]
  synced() { [ "$(condition r1 Synced status)" = True ]; }
  within 20 synced
}
