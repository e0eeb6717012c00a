# shellcheck shell=bash
# What needs a cluster, on an instance of the local one that is the tests' own: first the integration tests that want a real API
# server, then, with KubeFlex installed, the end-to-end tests (bats files in tests/e2e), and last a few kills of the processes
# (tests/faults), which are hard on the cluster. Read in by tests/run.

KT_INSTANCE='test'
export KT_INSTANCE

e2e_files() { find "$KT_REPO/tests/e2e" -maxdepth 1 -name '*.bats' 2>/dev/null | sort; }

# "file: name" of each test.
e2e_names() {
  local file
  while read -r file; do
    sed -n "s/^[[:space:]]*@test[[:space:]]*[\"']\(.*\)[\"'][[:space:]]*{.*/$(basename "$file" .bats): \1/p" "$file"
  done < <(e2e_files)
}

e2e_skip_all() {
  local name number=0
  while read -r name; do
    result skip "$name" "$1"
    number=$((number + 1))
  done < <(e2e_names)
  printf '%-28s %d skipped: %s\n' 'end-to-end tests' "$number" "$1"
}

cluster_skip() {
  e2e_skip_all "$1"
  skip_step 'kills' "$1"
}

# How an integration test says that it needs the cluster, or the programs that are built for it.
KT_WAITING='KFX_TEST_KUBECONFIG\|programs that deploy\/local\/up builds'

# What the integration tests skipped for that, by meson's names.
waiting_names() { sed -n "s/^skip\t\([^\t]*\)\t.*\($KT_WAITING\).*/\1/p" "$KT_LOGS/all.results"; }

# They run now, so they are no longer counted as skipped.
integration_on_cluster() {
  waiting_names >"$KT_LOGS/integration-cluster.names"
  [[ -s $KT_LOGS/integration-cluster.names ]] || return 0
  sed -i "/^skip\t.*\($KT_WAITING\)/d" "$KT_LOGS/all.results"
  step suite integration-cluster 900 'integration on the cluster'
}

cluster_run() {
  if [[ -z $(e2e_files)$(waiting_names) ]]; then
    printf '%-28s 0 tests\n' 'end-to-end tests'
    return
  fi
  KT_CLUSTER=1
  # Building Kubernetes from its Go modules is 16 minutes of this on a new machine with 2 cores.
  if ! step suite cluster-up 2700 'local cluster starts'; then
    cluster_skip 'the local cluster did not start'
  elif [[ -s $KT_LOGS/cannot ]]; then
    cluster_skip "$(<"$KT_LOGS/cannot")"
  else
    integration_on_cluster
    if [[ -z $(e2e_files) ]]; then
      printf '%-28s 0 tests\n' 'end-to-end tests'
    elif step suite kubeflex-up 900 'KubeFlex installs'; then
      step suite e2e 1800 'end-to-end tests'
      step suite kills 400 'kills'
    else
      cluster_skip 'KubeFlex was not installed'
    fi
  fi
}

# cluster_end KEEP: takes the cluster down, whatever happened before.
cluster_end() {
  [[ -n ${KT_CLUSTER:-} ]] || return 0
  if [[ -n $1 ]]; then
    printf 'the cluster is left: KUBECONFIG=%s; remove it with: deploy/local/down %s\n' "$KT_LOGS/kubeconfig" "$KT_INSTANCE"
    return
  fi
  KT_CLUSTER=''
  step setup cluster-down 300 'local cluster stops'
}
