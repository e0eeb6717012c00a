# shellcheck shell=bash disable=SC2034 # read by the scripts that source it
# What the benchmarks share: an instance of the local cluster, its API server by curl, its Postgres, its audit log, the
# figures of processes, and cleaning up. Everything a benchmark makes is called bench-*, and nothing else is touched.
#
# Sourced after `set -euo pipefail`. Order in a script: options, bench_start, work; bench_cleanup runs at any end.

REPO=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.." && pwd)
GROUP=tenancy.kflex.kubestellar.org
PLANES=/apis/$GROUP/v1alpha1/controlplanes
SYSTEM=kubeflex-system
HZ=$(getconf CLK_TCK)
INSTANCE=${KFX_INSTANCE:-local}
BENCH_HOOKS=() # commands that bench_cleanup runs first, last added first
BENCH_JOBS=()  # ids of background processes it ends

die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

say() { printf '%s\n' "$*"; }
usage() { awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"; }
now_ms() { printf '%s\n' "$((${EPOCHREALTIME/[.,]/} / 1000))"; }
k() { kubectl --context "$CONTEXT" "$@"; }
in_node() { "$REPO/deploy/local/node-exec" "$INSTANCE" "$@"; }

# median, spread: of the numbers on stdin.
median() { sort -n | awk '{ v[NR] = $1 } END { if (NR) print NR % 2 ? v[(NR + 1) / 2] : int((v[NR / 2] + v[NR / 2 + 1]) / 2) }'; }
spread() { sort -n | awk 'NR == 1 { a = $1 } { b = $1 } END { if (NR) print a "-" b }'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { if (b > 0) printf "%.2f", a / b; else printf "-" }'; }

# The cluster, credentials for curl, a kubeconfig of our own (kflex writes contexts into it), and what an earlier run left.
bench_start() {
  CONTEXT=kubeflex-$INSTANCE
  STATE=${KUBEFLEX_STATE:-/var/lib/kubeflex-local}/$INSTANCE
  [[ -r $STATE/admin.kubeconfig ]] || die "instance $INSTANCE is not up (no $STATE/admin.kubeconfig): run deploy/local/up $INSTANCE"
  [[ -n $(command -v jq) && -n $(command -v curl) ]] || die 'jq and curl are needed: apt-get install jq curl'
  KFLEX=$(command -v kflex || true)
  AUDIT=$STATE/logs/audit.log
  WORK=$(mktemp -d "${TMPDIR:-/tmp}/kubeflex-bench.XXXXXX")
  chmod 0700 "$WORK"
  trap bench_cleanup EXIT
  trap 'exit 130' INT TERM HUP
  export KUBECONFIG=$WORK/kubeconfig
  cp "$STATE/admin.kubeconfig" "$KUBECONFIG"
  # `up` calls the context by the instance's name only in the user's file.
  local current
  current=$(kubectl config current-context)
  [[ $current == "$CONTEXT" ]] || kubectl config rename-context "$current" "$CONTEXT" >/dev/null
  credentials "$KUBECONFIG" "$WORK/host"
  API=$(kubectl config view --minify -o 'jsonpath={.clusters[0].cluster.server}')
  NODE=$(k get nodes -o 'jsonpath={.items[0].metadata.name}')
  postgres_start
  bench_sweep
}

# credentials KUBECONFIG PREFIX: writes PREFIX.crt, .key and .ca of its current context.
credentials() {
  local what part
  for what in client-certificate-data:crt client-key-data:key certificate-authority-data:ca; do
    part=${what%%:*}
    if [[ $part == client* ]]; then part="users[0].user.$part"; else part="clusters[0].cluster.$part"; fi
    kubectl --kubeconfig "$1" config view --minify --raw -o "jsonpath={.$part}" | base64 -d >"$2.${what##*:}"
  done
}

# plane_access PLANE: waits until a plane that is being made has an address and an administrator; prints the address, and leaves
# the credentials in $WORK/plane.{crt,key,ca}.
plane_access() {
  local ip end
  end=$(($(now_ms) + 60000))
  until ip=$(k -n "$1-system" get service "$1" -o 'jsonpath={.spec.clusterIP}' 2>/dev/null) && [[ -n $ip ]] &&
    k -n "$1-system" get secret admin-kubeconfig -o 'jsonpath={.data.kubeconfig}' 2>/dev/null | base64 -d >"$WORK/plane.kubeconfig" &&
    [[ -s $WORK/plane.kubeconfig ]]; do
    (($(now_ms) < end)) || die "plane $1 has no address or no kubeconfig after a minute"
    sleep 0.1
  done
  credentials "$WORK/plane.kubeconfig" "$WORK/plane"
  printf '%s\n' "$ip"
}

drop_plane() {
  "$KFLEX" delete "$1" --timeout 120s >/dev/null 2>&1
  k wait --for=delete "namespace/$1-system" --timeout=120s >/dev/null
}

bench_cleanup() {
  local rc=$? hook i
  trap - EXIT
  trap '' INT TERM HUP
  set +e
  # In subshells: one that dies must not keep the rest from being done.
  for ((i = ${#BENCH_HOOKS[@]} - 1; i >= 0; i--)); do (${BENCH_HOOKS[i]}); done
  for hook in "${BENCH_JOBS[@]}"; do kill "$hook" 2>/dev/null; done
  [[ -z ${PGHOST_IP:-} ]] || (bench_sweep)
  rm -rf "$WORK"
  exit "$rc"
}

# Removes planes, namespaces, databases and roles called bench-*, this run's and those of one that was killed.
bench_sweep() {
  local -a planes namespaces
  mapfile -t planes < <(k get controlplanes -o name | grep '/bench-')
  ((${#planes[@]} == 0)) || k delete "${planes[@]}" --timeout=180s >/dev/null || say "bench: planes are left: ${planes[*]}" >&2
  mapfile -t namespaces < <(k get namespaces -o name | grep '/bench-')
  if ((${#namespaces[@]})); then
    k delete "${namespaces[@]}" --ignore-not-found --timeout=300s >/dev/null || say "bench: namespaces are left" >&2
  fi
  sql "select format('drop database if exists %I with (force)', datname) from pg_database where datname like 'bench\\_f%'
    or datname = 'bench_base' \\gexec
    select format('drop role if exists %I', rolname) from pg_roles where rolname like 'bench\\_f%' or rolname = 'bench_base'
    order by rolname desc \\gexec" >/dev/null || say "bench: databases are left" >&2
}

# ---- conditions -------------------------------------------------------------------------------------------------------

# What a figure depends on. The idle share is measured over two seconds just before the run.
bench_conditions() {
  local a b
  a=$(awk '/^cpu / { print $5 + $6, $2 + $3 + $4 + $5 + $6 + $7 + $8 }' /proc/stat)
  sleep 2
  b=$(awk '/^cpu / { print $5 + $6, $2 + $3 + $4 + $5 + $6 + $7 + $8 }' /proc/stat)
  say "date        $(date -u '+%F %H:%M') UTC, commit $(git -c safe.directory="$REPO" -C "$REPO" describe --always --dirty 2>/dev/null || echo unknown)"
  say "machine     $(nproc) x $(awk -F': ' '/^model name/ { print $2; exit }' /proc/cpuinfo), $(awk '/^MemTotal/ { printf "%d GiB", $2 / 1048576 }' /proc/meminfo), Linux $(uname -r)"
  say "load        $(cut -d' ' -f1-3 /proc/loadavg); CPU idle before the run: $(awk -v x="$a $b" 'BEGIN { split(x, v, " "); printf "%.0f %%", 100 * (v[3] - v[1]) / (v[4] - v[2]) }')"
  say "cluster     instance $INSTANCE, Kubernetes $(k version -o json | jq -r .serverVersion.gitVersion), Postgres $(sql 'show server_version' | cut -d' ' -f1), $(k get controlplanes --no-headers 2>/dev/null | grep -vc '^bench-' || true) other planes"
  say "image       $(k -n $SYSTEM get deployment kubeflex-controller-manager -o 'jsonpath={.spec.template.spec.containers[0].image}')"
}

# ---- Postgres ---------------------------------------------------------------------------------------------------------

# psql inside the node's network: no kubectl exec in what is timed.
postgres_start() {
  PGHOST_IP=$(k -n $SYSTEM get service postgres-postgresql -o 'jsonpath={.spec.clusterIP}')
  PGPASSWORD=$(k -n $SYSTEM get secret postgres-postgresql -o 'jsonpath={.data.postgres-password}' | base64 -d)
  export PGPASSWORD PGCONNECT_TIMEOUT=5
}

# sql TEXT, or SQL on stdin: as the superuser, bare answers.
sql() {
  if (($#)); then printf '%s\n' "$1"; else cat; fi |
    in_node psql -qAtX -v ON_ERROR_STOP=1 "host=$PGHOST_IP user=postgres dbname=postgres sslmode=require"
}

# ---- API server by curl -----------------------------------------------------------------------------------------------

# A jq function for curl's config language: one request, credentials included.
curl_defs() {
  cat <<'JQ'
def request($method; $path; $type; $body):
  "url = \($api + $path | @json)\nrequest = \"\($method)\"\nhttp2\nsilent\nmax-time = 60\n" +
  "cert = \"\($cred).crt\"\nkey = \"\($cred).key\"\ncacert = \"\($cred).ca\"\nuser-agent = \"kubeflex-bench\"\n" +
  "write-out = \"%{http_code} %{method} %{url_effective}\\n\"\noutput = \"\($out)\"\n" +
  (if $body == null then "" else "header = \"content-type: \($type)\"\ndata-binary = \($body | tojson | @json)\n" end);
def post($path; $body): request("POST"; $path; "application/json"; $body);
def merge($path; $body): request("PATCH"; $path; "application/merge-patch+json"; $body);
def apply($path; $body): request("PATCH"; $path + "?fieldManager=bench&force=true"; "application/apply-patch+yaml"; $body);
def delete($path): request("DELETE"; $path; null; null);
def requests(f): [f] | join("next\n");
JQ
}

# curl_config PROGRAM [JQ OPTIONS]: the requests of a jq program, as a config file on stdout.
curl_config() {
  local program=$1
  shift
  jq -nr --arg api "$API" --arg cred "$WORK/host" --arg out /dev/null "$@" "$(curl_defs) $program"
}

# curl_run CONFIG PARALLEL: all requests over one HTTP/2 connection, begun in order. Complains of refused ones.
curl_run() {
  local answers=$1.answers
  timeout 300 curl --no-progress-meter --parallel --parallel-max "$2" --config "$1" >"$answers" || die "curl failed: $(head -c 300 "$answers")"
  if grep -qv '^2' "$answers"; then
    die "refused: $(grep -v '^2' "$answers" | sort | uniq -c | sort -rn | head -3)"
  fi
}

# watch_start PATH WORD: prints "WORD TYPE NAME FIRST-COLUMN" to $EVENTS (a FIFO that is open as descriptor $EVENTS_FD) for
# each event, beginning with what exists. The table form is a hundred bytes an event, so that looking costs little.
watch_start() {
  if [[ -z ${EVENTS:-} ]]; then
    EVENTS=$WORK/events
    mkfifo "$EVENTS"
    exec {EVENTS_FD}<>"$EVENTS"
  fi
  curl -sN --http2 --cert "$WORK/host.crt" --key "$WORK/host.key" --cacert "$WORK/host.ca" -A kubeflex-bench \
    -H 'accept: application/json;as=Table;v=v1;g=meta.k8s.io' "$API$1?watch=1&timeoutSeconds=3000&includeObject=None" \
    > >(jq --unbuffered -r --arg word "$2" '.type as $t | .object.rows[]?.cells | "\($word) \($t) \(.[0]) \(.[1])"' >"$EVENTS") &
  BENCH_JOBS+=("$!")
}

# await WORD TYPE REGEX COLUMN COUNT SECONDS: until COUNT different names had such an event; prints nothing, sets AWAITED to the
# time (ms) of the last one. COLUMN is compared as a whole; '' takes any. Events of other kinds are dropped.
await() {
  local word type name column deadline
  local -A seen=()
  deadline=$(($(now_ms) + $6 * 1000))
  while ((${#seen[@]} < $5)); do
    (($(now_ms) < deadline)) || die "only ${#seen[@]} of $5 $1 came to $2 ${4:+$4 }in $6 s"
    read -r -t 1 -u "$EVENTS_FD" word type name column || continue
    [[ $word == "$1" && $type =~ ^($2)$ && $name =~ $3 && (-z $4 || $column == "$4") ]] || continue
    seen[$name]=1
  done
  AWAITED=$(now_ms)
}

# await_both WORD1 WORD2 REGEX COUNT SECONDS: until COUNT names of both kinds were DELETED; sets AWAITED_1 and AWAITED_2.
await_both() {
  local word type name column deadline
  local -A one=() two=()
  deadline=$(($(now_ms) + $5 * 1000))
  AWAITED_1='' AWAITED_2=''
  while [[ -z $AWAITED_1 || -z $AWAITED_2 ]]; do
    (($(now_ms) < deadline)) || die "after $5 s only ${#one[@]} $1 and ${#two[@]} $2 of $4 are gone"
    read -r -t 1 -u "$EVENTS_FD" word type name column || continue
    [[ $type == DELETED && $name =~ $3 ]] || continue
    if [[ $word == "$1" ]]; then one[$name]=1; elif [[ $word == "$2" ]]; then two[$name]=1; fi
    [[ -n $AWAITED_1 ]] || ((${#one[@]} < $4)) || AWAITED_1=$(now_ms)
    [[ -n $AWAITED_2 ]] || ((${#two[@]} < $4)) || AWAITED_2=$(now_ms)
  done
}

# ---- audit log --------------------------------------------------------------------------------------------------------

# audit_since OFFSET: the lines written since `audit_mark` said OFFSET. It rotates at 200 MB.
audit_mark() { stat -c %s "$AUDIT"; }
audit_since() {
  (($(audit_mark) >= $1)) || die 'the audit log was rotated meanwhile: run again'
  tail -c "+$(($1 + 1))" "$AUDIT" | jq -c -R 'fromjson? | select(.stage == "ResponseComplete")'
}

# Of audit lines on stdin: the writes of our own programs.
audit_ours() { jq -c 'select(.userAgent | test("^kubeflex-(watcher|reconciler|storage|bus)"))'; }
audit_writes() { jq -c 'select(.verb | IN("create", "update", "patch", "delete", "deletecollection"))'; }
# The Lease is renewed by POST and PATCH of its own resource; nothing else is left out.
audit_no_lease() { jq -c 'select(.objectRef.resource != "leases")'; }
audit_table() {
  jq -r '"\(.userAgent | split("/")[0])\t\(.verb)\t\(.objectRef.resource // .requestURI)\(if .objectRef.subresource then "/" + .objectRef.subresource else "" end)\t\(.responseStatus.code)"' |
    sort | uniq -c | sort -rn | awk '{ printf "    %6d  %-26s %-8s %-24s %s\n", $1, $2, $3, $4, $5 }'
}

# ---- processes --------------------------------------------------------------------------------------------------------

# pids_of NAMESPACE [POD-REGEX]: "PID CONTAINER" of each process in the namespace's containers (not pause), root's ids.
pids_of() {
  local id name file pid
  local -A names=()
  while read -r id name; do names[$id]=$name; done < <(k -n "$1" get pods -o json | jq -r --arg re "${2:-.}" '.items[]
    | select(.metadata.name | test($re)) | .status | (.containerStatuses[]?, .initContainerStatuses[]?)
    | select(.state.running) | "\(.containerID | sub("^.*//"; "")) \(.name)"')
  for file in /proc/[0-9]*/cgroup; do
    pid=${file#/proc/} pid=${pid%/cgroup}
    id=$(sed -n 's#.*/##p' "$file" 2>/dev/null | head -1) || continue
    id=${id#cri-containerd-} id=${id%.scope}
    [[ -z $id || -z ${names[$id]:-} ]] || printf '%s %s\n' "$pid" "${names[$id]}"
  done
}

# Our own: all of kubeflex-system but Postgres.
our_pids() { pids_of $SYSTEM '^kubeflex-'; }

# cpu_ms PID…: user and system time together.
cpu_ms() {
  local pid total=0 ticks
  for pid; do
    ticks=$(sed 's/^.*) //' "/proc/$pid/stat" | awk '{ print $12 + $13 }') || die "process $pid is gone"
    total=$((total + ticks))
  done
  printf '%s\n' $((total * 1000 / HZ))
}

# cluster_pids NAMESPACE…: "PID NAME" of all that the instance runs by itself: the node's components, and the containers of
# these namespaces. Without the children of those: cluster_cpu counts them with their parents.
cluster_pids() {
  local file pid name parent ns
  local -A found=()
  for file in /proc/[0-9]*/cgroup; do
    grep -qs "/$INSTANCE/node\$" "$file" || continue
    pid=${file#/proc/} pid=${pid%/cgroup}
    name=$(cat "/proc/$pid/comm" 2>/dev/null) || continue
    found[$pid]=$name
  done
  while read -r pid name; do found[$pid]=$name; done < <(for ns; do pids_of "$ns"; done)
  for pid in "${!found[@]}"; do
    parent=$(awk '/^PPid/ { print $2 }' "/proc/$pid/status" 2>/dev/null) || continue
    [[ ${found[$pid]} == "${found[${parent:-0}]:-}" ]] || printf '%s %s\n' "$pid" "${found[$pid]}"
  done
}

# cluster_cpu: of such lines on stdin, "NAME MS" used since they started, sorted by name. Children that ended count with
# the process that waited for them (the sessions of Postgres), and those that are there, too.
cluster_cpu() {
  local pid name child
  while read -r pid name; do
    for child in "$pid" $(pgrep -P "$pid" -x "$(cat "/proc/$pid/comm" 2>/dev/null)" || true); do
      [[ ! -r /proc/$child/stat ]] || sed 's/^.*) //' "/proc/$child/stat" | awk -v n="$name" '{ print n, $12 + $13 + $14 + $15 }'
    done
  done | awk -v hz="$HZ" '{ t[$1] += $2 } END { for (n in t) printf "%s %d\n", n, t[n] * 1000 / hz }' | sort
}

# memory_kb FIELD PID…: sum over smaps_rollup (Pss, Anonymous, Rss).
memory_kb() {
  local field=$1 pid total=0
  shift
  for pid; do
    total=$((total + $(awk -v f="$field:" '$1 == f { s += $2 } END { print s + 0 }' "/proc/$pid/smaps_rollup")))
  done
  printf '%s\n' "$total"
}

# started_ms PID: when it was forked, in ms of the machine's clock; good to 10 ms.
started_ms() {
  local ticks up
  ticks=$(sed 's/^.*) //' "/proc/$1/stat" | awk '{ print $20 }')
  up=$(cut -d' ' -f1 /proc/uptime)
  awk -v now="$(now_ms)" -v up="$up" -v t="$ticks" -v hz="$HZ" 'BEGIN { printf "%.0f\n", now - (up - t / hz) * 1000 }'
}

# cordon: no pod is scheduled from here on, until the cleanup.
cordon() {
  BENCH_HOOKS+=(uncordon)
  k cordon "$NODE" >/dev/null
}
uncordon() { k uncordon "$NODE" >/dev/null; }
