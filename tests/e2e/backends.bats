#!/usr/bin/env bats
# Two planes that share a Postgres, one with an etcd of its own, one on an etcd that the test brings. Objects are written, everything
# is restarted, all is there; deletion leaves nothing, and the external database as it was.
# shellcheck disable=SC2154 # bats sets output, status, stderr
# bats file_tags=alone

bats_require_minimum_version 1.5.0

PLANES=(st-shared st-second st-own st-ext)
OBJECTS=2000
LABEL=kflex.kubestellar.org/storage-external

setup_file() {
  load lib.bash
  e2e_setup_file
}

teardown_file() {
  load lib.bash
  planes_delete "${PLANES[@]}"
  hk delete namespace st-database --ignore-not-found --timeout="$GONE_TIMEOUT"
  hk delete secret -n kubeflex-storage st-ext --ignore-not-found
}

setup() { load lib.bash; }

plane_on() { # NAME BACKEND STORAGE
  hk apply -f - <<YAML
apiVersion: $GROUP/v1alpha1
kind: ControlPlane
metadata: {name: $1}
spec: {type: k8s, backend: $2, storage: $3}
YAML
}

# An etcd as a user would have it: certificates of his own, in a namespace of his own.
database_make() {
  local dir=$BATS_FILE_TMPDIR/pki name=etcd.st-database.svc
  mkdir -p "$dir"
  cd "$dir" || return
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=st
  printf 'subjectAltName=DNS:%s,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n' "$name" >ext
  for cert in server client; do
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout $cert.key -out $cert.csr -subj /CN=$cert
    openssl x509 -req -in $cert.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out $cert.crt -days 2 -extfile ext
  done
  hk create namespace st-database
  hk create secret generic -n st-database pki --from-file=ca.crt --from-file=server.crt --from-file=server.key
  hk create secret generic -n kubeflex-storage st-ext --from-literal="endpoints=https://$name:2379" --from-file=ca.crt \
    --from-file=client.crt --from-file=client.key
  hk label secret -n kubeflex-storage st-ext "$LABEL=st-ext"
  hk apply -f - <<YAML
apiVersion: v1
kind: Service
metadata: {name: etcd, namespace: st-database}
spec: {selector: {app: etcd}, ports: [{port: 2379}]}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data, namespace: st-database}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: etcd, namespace: st-database}
spec:
  selector: {matchLabels: {app: etcd}}
  strategy: {type: Recreate}
  template:
    metadata: {labels: {app: etcd}}
    spec:
      containers:
      - name: etcd
        image: quay.io/coreos/etcd:v3.7.3
        command: [etcd, --data-dir=/data/etcd, --unsafe-no-fsync, "--listen-client-urls=https://0.0.0.0:2379",
          "--advertise-client-urls=https://$name:2379", --client-cert-auth=true, --trusted-ca-file=/pki/ca.crt,
          --cert-file=/pki/server.crt, --key-file=/pki/server.key, "--listen-metrics-urls=http://0.0.0.0:2381"]
        readinessProbe: {httpGet: {path: /readyz, port: 2381}, periodSeconds: 1}
        volumeMounts: [{name: data, mountPath: /data}, {name: pki, mountPath: /pki}]
      volumes: [{name: data, persistentVolumeClaim: {claimName: data}}, {name: pki, secret: {secretName: pki}}]
YAML
}

# How many keys of a plane the user's etcd holds.
database_keys() {
  local ip
  ip=$(hk get service -n st-database etcd -o 'jsonpath={.spec.clusterIP}')
  in_node curl -s --max-time 5 --cacert "$BATS_FILE_TMPDIR/pki/ca.crt" --cert "$BATS_FILE_TMPDIR/pki/client.crt" \
    --key "$BATS_FILE_TMPDIR/pki/client.key" --resolve "etcd.st-database.svc:2379:$ip" https://etcd.st-database.svc:2379/v3/kv/range \
    -d "{\"key\": \"$(printf %s /registry/ | base64)\", \"range_end\": \"$(printf %s /registry0 | base64)\", \"count_only\": true}" |
    jq -r '.count // "0"'
}

@test "a plane on each backend becomes ready" {
  database_make
  plane_on st-shared shared '{}'
  plane_on st-second shared '{}'
  plane_on st-own dedicated '{size: 1Gi, storageClassName: local-path-retain}'
  plane_on st-ext external '{secretRef: {namespace: kubeflex-storage, name: st-ext}}'
  for plane in "${PLANES[@]}"; do hk wait --for=condition=Ready "controlplane/$plane" --timeout="$READY_TIMEOUT"; done
  [ "$(condition st-shared StorageReady reason)" = DatabaseReady ]
  [ "$(condition st-own StorageReady reason)" = EtcdReady ]
  [ "$(condition st-ext StorageReady reason)" = ExternalReady ]
  # No kine where there is an etcd, and no database.
  [ "$(hk get pods -n st-own-system -l app=kube-apiserver -o 'jsonpath={.items[*].spec.initContainers[*].name}')" = "" ]
  [ -z "$(databases_of "$(plane_uid st-own)")$(databases_of "$(plane_uid st-ext)")" ]
}

@test "objects are there after everything was restarted" {
  local plane pids=()
  for plane in "${PLANES[@]}"; do
    kflex ctx "$plane"
    kubectl config view --context "$plane" --raw --minify -o json >"$BATS_TEST_TMPDIR/$plane.config"
    python3 "$BATS_TEST_DIRNAME/writer.py" "$BATS_TEST_TMPDIR/$plane.config" "$plane" "$OBJECTS" >"$BATS_TEST_TMPDIR/$plane" 3>&- &
    pids+=("$!")
  done
  for plane in "${!PLANES[@]}"; do
    wait "${pids[plane]}" || fail "${PLANES[plane]}: $(jq -c '.failed[:3]' "$BATS_TEST_TMPDIR/${PLANES[plane]}")"
  done
  hk delete pods --grace-period=0 --force -n kubeflex-system --all
  hk delete pods --grace-period=0 --force -n st-database --all
  for plane in "${PLANES[@]}"; do hk delete pods --grace-period=0 --force -n "$plane-system" --all; done
  hk rollout status -n kubeflex-system statefulset/postgres-postgresql --timeout=120s
  for plane in "${PLANES[@]}"; do
    within 120 pk "$plane" get --raw /readyz
    # Each its own, and none of another's.
    [ "$(pk "$plane" get configmaps -n default -o name | grep -c "/$plane-")" = "$OBJECTS" ]
    [ "$(pk "$plane" get configmaps -n default -o name | grep -c /st-)" = "$OBJECTS" ]
  done
}

@test "deletion leaves nothing, but the volume that is to be kept and the user's database" {
  local keys volume
  keys=$(database_keys)
  ((keys > OBJECTS)) || fail "only $keys keys"
  volume=$(hk get pvc -n st-own-system data-etcd-0 -o 'jsonpath={.spec.volumeName}')
  hk delete controlplane "${PLANES[@]}" --timeout="$GONE_TIMEOUT"
  for plane in "${PLANES[@]}"; do hk wait --for=delete "namespace/$plane-system" --timeout="$GONE_TIMEOUT"; done
  [ "$(database_keys)" -ge "$OBJECTS" ]
  [ "$(hk get pv "$volume" -o 'jsonpath={.status.phase}')" = Released ]
  hk delete pv "$volume"
}
