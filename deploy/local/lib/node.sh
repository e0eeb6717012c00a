# shellcheck shell=bash disable=SC2034,SC2154 # names are shared among the files that up and down put together
# The node: its configuration, its start in namespaces of its own, its end, and running commands inside.

config_containerd() {
	local restrict=false
	# Without this capability no process may lower its oom_score_adj, and runc dies when it is told to.
	has_cap 24 || restrict=true
	cat <<-END
		version = 2
		root = "$KF_STATE/containerd"
		state = "/run/containerd"
		disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
		  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp"]
		[grpc]
		  address = "/run/containerd/containerd.sock"
		[plugins."io.containerd.internal.v1.opt"]
		  path = "$KF_STATE/containerd/opt"
		[plugins."io.containerd.grpc.v1.cri"]
		  sandbox_image = "registry.k8s.io/pause:3.10"
		  restrict_oom_score_adj = $restrict
		  disable_apparmor = true
		[plugins."io.containerd.grpc.v1.cri".cni]
		  bin_dir = "/usr/lib/cni"
		  conf_dir = "$KF_STATE/config/cni"
		[plugins."io.containerd.grpc.v1.cri".containerd]
		  snapshotter = "overlayfs"
	END
}

# Each pod has a routed veth pair (ptp), no bridge: so nothing depends on br_netfilter, a setting of the whole machine.
config_cni() {
	cat <<-END
		{"cniVersion": "0.4.0", "name": "kubeflex", "plugins": [
		  {"type": "ptp", "ipMasq": false, "mtu": 1500, "ipam": {"type": "host-local",
		    "ranges": [[{"subnet": "$KF_PODS.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
		  {"type": "portmap", "capabilities": {"portMappings": true}}]}
	END
}

config_kubelet() {
	local oom=-999
	has_cap 24 || oom=0
	cat <<-END
		apiVersion: kubelet.config.k8s.io/v1beta1
		kind: KubeletConfiguration
		authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $KF_STATE/pki/ca.crt}}
		authorization: {mode: Webhook}
		tlsCertFile: $KF_STATE/pki/kubelet.crt
		tlsPrivateKeyFile: $KF_STATE/pki/kubelet.key
		containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
		volumePluginDir: /var/lib/kubelet/volume-plugins
		cgroupDriver: cgroupfs
		cgroupRoot: /$KF_CGROUP
		failCgroupV1: false
		failSwapOn: false
		enforceNodeAllocatable: []
		oomScoreAdj: $oom
		clusterDNS: [$KF_SERVICES.0.10]
		clusterDomain: cluster.local
		resolvConf: /dev/null
		maxPods: 500
		serializeImagePulls: false
		imageGCHighThresholdPercent: 100
		# Tests kill the same containers over and over (tests/faults): the usual pause, 10 s doubling to 5 min, is for programs that
		# crash by themselves. One second is the least that the kubelet takes; it is the first pause, too.
		crashLoopBackOff: {maxContainerRestartPeriod: 1s}
		evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}
	END
}

config_kube_proxy() {
	local oom=-999
	has_cap 24 || oom=0
	cat <<-END
		apiVersion: kubeproxy.config.k8s.io/v1alpha1
		kind: KubeProxyConfiguration
		clientConnection: {kubeconfig: $KF_STATE/pki/kube-proxy.kubeconfig}
		hostnameOverride: $KF_NODE_NAME
		clusterCIDR: $KF_PODS.0.0/16
		mode: iptables
		nodePortAddresses: [$KF_NODE_IP/32]
		conntrack: {maxPerCore: 0, min: 0}
		oomScoreAdj: $oom
	END
}

config_audit() {
	cat <<-END
		apiVersion: audit.k8s.io/v1
		kind: Policy
		omitStages: [RequestReceived]
		rules:
		- level: Metadata
	END
}

config_env() {
	local name
	for name in KF_CACHE KF_CGROUP KF_NETNS KF_NODE_NAME KF_NODE_IP KF_PODS KF_SERVICES KF_BIN_kubernetes KF_BIN_etcd; do
		printf '%s=%s\n' "$name" "${!name}"
	done
}

# Everything that the node's programs read. Its hash tells whether a running node is the one that is wanted.
node_configure() {
	local dir=$KF_STATE/config
	mkdir -p "$dir/cni" "$KF_STATE"/{bin,logs,etcd,kubelet,postgres,volumes}
	chown 999:999 "$KF_STATE/postgres"
	chmod 0700 "$KF_STATE/postgres" "$KF_STATE/etcd"
	config_containerd | write_file "$dir/containerd.toml"
	config_cni | write_file "$dir/cni/10-kubeflex.conflist"
	config_kubelet | write_file "$dir/kubelet.yaml"
	config_kube_proxy | write_file "$dir/kube-proxy.yaml"
	config_audit | write_file "$dir/audit-policy.yaml"
	config_env | write_file "$dir/node.env"
	write_file "$KF_STATE/bin/boot" <"$KF_HERE/node/boot"
	write_file "$KF_STATE/bin/supervise" <"$KF_HERE/node/supervise"
	write_file "$KF_STATE/bin/volumes" <"$KF_HERE/node/volumes"
	write_file "$KF_STATE/bin/cgroup.sh" <"$KF_HERE/lib/cgroup.sh"
	KF_SPEC=$(cat "$dir"/*.* "$dir"/cni/* "$KF_STATE"/bin/* "$KF_STATE/pki/ca.crt" | hash_of)
}

# node_pid: id of the node's init if it lives. A recycled id has another start time, and after a reboot all are void.
node_pid() {
	local id start boot
	[[ -s $KF_STATE/node.pid ]] || return 1
	read -r id start boot <"$KF_STATE/node.pid"
	[[ $boot == "$(</proc/sys/kernel/random/boot_id)" && -n $start && $(proc_start "$id") == "$start" ]] || return 1
	printf '%s' "$id"
}

node_is_gone() { ! node_pid >/dev/null; }
node_is_alive() { node_pid >/dev/null; }

# The kernel ends every process of a PID namespace with its init, containers included; nothing has to be stopped in order.
node_stop() {
	local id
	if id=$(node_pid); then
		kill -KILL "$id"
		wait_until 30 node_is_gone || die "the node's init (process $id) does not end"
	fi
	cgroup_kill "$KF_CGROUP"
	rm -f "$KF_STATE/node.pid" "$KF_STATE/node.spec"
	cgroup_remove "$KF_CGROUP"
	network_remove
}

# node_run COMMAND…: inside the node's namespaces.
node_run() { nsenter --target "$(node_pid)" --mount --uts --net --pid -- "$@"; }

node_is_current() { node_is_alive && network_is_up && [[ -f $KF_STATE/node.spec && $(<"$KF_STATE/node.spec") == "$KF_SPEC" ]]; }

node_start() {
	local lock=$KF_INSTANCE_LOCK
	node_stop
	seed_plant
	network_make
	((${#KF_SCOPE[@]})) || cgroup_make "$KF_CGROUP" || die "no control group $KF_CGROUP can be made"
	setsid "${KF_SCOPE[@]}" "$BASH" "$KF_STATE/bin/boot" "$KF_STATE" >>"$KF_STATE/logs/boot.log" 2>&1 </dev/null {lock}>&- &
	# It outlives this run, and no `wait` is meant for it.
	disown
	wait_until 20 node_is_alive || fail_with_log boot "the node's first process did not start"
	rm -f "$KF_STATE/node.fresh"
	date -u +%FT%TZ >"$KF_STATE/node.started"
	printf '%s\n' "$KF_SPEC" >"$KF_STATE/node.spec"
}

node_ensure() {
	node_is_current && return 0
	step "starting the node" node_start
}

# api_read PATH: what the API server answers; cheaper than starting kubectl.
api_read() {
	curl -s -f --max-time 5 --cacert "$KF_STATE/pki/ca.crt" --cert "$KF_STATE/pki/admin.crt" \
		--key "$KF_STATE/pki/admin.key" "https://$KF_NODE_IP:6443$1"
}

api_get() { api_read "$1" >/dev/null; }

containerd_answers() { node_run ctr version >/dev/null 2>&1; }

api_await() {
	wait_until 90 api_get /readyz || fail_with_log etcd,kube-apiserver "the API server at https://$KF_NODE_IP:6443 did not become ready in 90 s"
}

# The health ports of kubelet, kube-proxy, controller manager and scheduler.
components_listen() {
	# shellcheck disable=SC2016
	node_run "$BASH" -c 'for port in 10248 10256 10257 10259; do (exec 3<>"/dev/tcp/127.0.0.1/$port") || exit 1; done' 2>/dev/null
}

node_await() {
	wait_until 60 components_listen || fail_with_log supervise,kubelet,kube-proxy "kubelet, kube-proxy, kube-controller-manager and kube-scheduler are not all running after 60 s (see their logs beside this one)"
	wait_until 60 api_get "/api/v1/nodes/$KF_NODE_NAME" || fail_with_log kubelet "the kubelet did not register its node in 60 s"
	kube wait --for=condition=Ready "node/$KF_NODE_NAME" --timeout=60s >/dev/null ||
		fail_with_log kubelet "the node did not become ready in 60 s"
}

# kube …: our kubectl as the cluster's administrator.
kube() { "$KF_BIN_kubernetes/kubectl" --kubeconfig "$KF_ADMIN" --cache-dir "$KF_STATE/kubectl-cache" "$@"; }
