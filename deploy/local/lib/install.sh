# shellcheck shell=bash disable=SC2034,SC2154 # names are shared among the files that up and down put together
# What goes into the running cluster: its own add-ons, KubeFlex, and the first control plane.

addons_render() {
	local file text
	for file in coredns ingress volumes; do
		text=$(<"$KF_HERE/manifests/$file.yaml")
		text=${text//@SERVICES@/$KF_SERVICES}
		text=${text//@NODE_IP@/$KF_NODE_IP}
		printf -- '---\n%s\n' "$text"
	done
}

kube_apply() { kube apply --server-side --force-conflicts --field-manager=kubeflex-local -f - <<<"$1" >"$KF_STATE/logs/apply.log" 2>&1; }

# Into a namespace that is being deleted nothing can be put, and what is there will go.
namespace_is_staying() { [[ $(api_read "/api/v1/namespaces/$1") != *'"Terminating"'* ]]; }

namespace_await() { wait_until 60 namespace_is_staying "$1" || die "the namespace $1 is being deleted and does not go; see what holds it: kubectl get namespace $1 -o yaml"; }

# kubectl wait fails at once while a definition has no conditions at all yet.
crds_served() { kube wait --for=condition=Established --timeout=30s -f - <<<"$1" >"$KF_STATE/logs/apply.log" 2>&1; }

# Before anything else is made in the cluster: the admission plugin OwnerReferencesPermissionEnforcement reads the list of
# kinds at the first object with an owner, and then only every 30 s, and would refuse the planes' objects until then.
crds_apply() {
	local objects
	objects=$("$KF_BIN_kubernetes/kubectl" kustomize "$KF_REPO/deploy/crds") || die "the definitions in $KF_REPO/deploy/crds do not render"
	wait_until 20 kube_apply "$objects" || fail_with_log apply "the definitions of KubeFlex's kinds could not be applied"
	wait_until 20 crds_served "$objects" ||
		fail_with_log apply "KubeFlex's kinds are not served"
}

# Just after the start some namespaces and default objects are still being made, so a refused apply is tried again.
addons_apply() {
	namespace_await ingress-nginx
	wait_until 20 kube_apply "$(addons_render)" || fail_with_log apply "the add-ons could not be applied"
}

# After a restart of the node the API server still tells what the pods were before. pods_are_fresh NAMESPACE: none is called
# ready since before that (such times compare as text). Asked until it is so once.
pods_are_fresh() {
	local stale
	if grep -qsxF "$1" "$KF_STATE/node.fresh"; then return 0; fi
	stale=$(kube -n "$1" get pods -o 'jsonpath={range .items[?(@.status.phase=="Running")]}{.status.conditions[?(@.type=="Ready")].lastTransitionTime}{"\n"}{end}' |
		awk -v start="$(<"$KF_STATE/node.started")" '$1 != "" && $1 < start') && [[ -z $stale ]] || return 1
	printf '%s\n' "$1" >>"$KF_STATE/node.fresh"
}

# rollout_await NAMESPACE: waits for all workloads of a namespace, and shows what holds one up.
rollout_await() {
	wait_until 30 pods_are_fresh "$1" || warn "the kubelet has not looked at all pods of $1 since the node started"
	if ! kube -n "$1" rollout status deployments,statefulsets --timeout=90s >"$KF_STATE/logs/rollout.log" 2>&1 ||
		grep -q '^No resources found' "$KF_STATE/logs/rollout.log"; then
		rollout_failed "$1"
	fi
}

rollout_failed() {
	local pod
	printf 'error: not all of %s became available in 90 s; its pods, the last events and logs:\n' "$1" >&2
	cat "$KF_STATE/logs/rollout.log" >&2
	kube -n "$1" get pods -o wide >&2 || true
	kube -n "$1" get events --sort-by=.lastTimestamp 2>/dev/null | tail -n 8 >&2 || true
	for pod in $(kube -n "$1" get pods -o 'jsonpath={range .items[?(@.status.containerStatuses[0].ready==false)]}{.metadata.name}{"\n"}{end}'); do
		printf 'log of %s:\n' "$pod" >&2
		kube -n "$1" logs "$pod" --tail=15 --all-containers >&2 || true
	done
	exit 1
}

addons_await() {
	rollout_await kube-system
	rollout_await ingress-nginx
}

# The images of planes whose program has no package: a real one where `up --image` has brought it, else the stand-in.
guest_images() {
	local name image standin
	standin=$(image_ref standin)
	for name in vcluster k3s ocm; do
		image=$standin
		if [[ -f $KF_STATE/real/$name ]]; then image=$(<"$KF_STATE/real/$name"); fi
		printf '      %sImage: %s\n' "$name" "$image"
	done
	# The stand-in has an API server in it; so may a real image of vCluster.
	image=none
	if [[ -f $KF_STATE/real/vcluster-kubernetes ]]; then image=$(<"$KF_STATE/real/vcluster-kubernetes"); fi
	printf '      vclusterKubernetesImage: %s\n' "$image"
}

overlay_write() {
	local dir=$KF_STATE/config/overlay
	mkdir -p "$dir"
	write_file "$dir/kustomization.yaml" <<-END
		apiVersion: kustomize.config.k8s.io/v1beta1
		kind: Kustomization
		resources: ["$(realpath --relative-to="$dir" "$KF_REPO/deploy/manifests")"]
		images: [{name: kubeflex.local/kubeflex, newTag: "$KF_TAG"}]
		patches:
		- patch: |
		    apiVersion: v1
		    kind: ConfigMap
		    metadata: {name: kubeflex-config, namespace: kubeflex-system}
		    data:
		      domain: localtest.me
		      externalPort: "9443"
		      isOpenShift: "false"
		      hostContainer: $KF_NODE_NAME
		      externalAddress: $KF_NODE_IP
		$(guest_images)
		# Like the cluster's etcd: what dies are processes, and they lose nothing by it.
		- target: {kind: StatefulSet, name: postgres-postgresql}
		  patch: |
		    - {op: add, path: /spec/template/spec/containers/0/args/-, value: -c}
		    - {op: add, path: /spec/template/spec/containers/0/args/-, value: fsync=off}
	END
}

kubeflex_apply() {
	local objects
	namespace_await kubeflex-system
	overlay_write
	objects=$("$KF_BIN_kubernetes/kubectl" kustomize --load-restrictor LoadRestrictionsNone "$KF_STATE/config/overlay") ||
		die "the manifests in $KF_REPO/deploy/manifests do not render"
	wait_until 20 kube_apply "$objects" || fail_with_log apply "KubeFlex could not be applied"
	rollout_await kubeflex-system
}

# kflex works in the user's kubeconfig for the default instance, in one of the instance's own for others: each may have a cp1.
plane_kubeconfig() {
	if [[ $KF_INSTANCE == "$KF_DEFAULT_INSTANCE" ]]; then
		kubeconfig_path
	else
		[[ -f $KF_STATE/kubeconfig ]] || install -m 0600 "$KF_ADMIN" "$KF_STATE/kubeconfig"
		printf '%s' "$KF_STATE/kubeconfig"
	fi
}

plane_create() {
	local file
	file=$(plane_kubeconfig)
	if [[ -z $(kube get controlplanes.tenancy.kflex.kubestellar.org cp1 --ignore-not-found -o name) ]]; then
		KUBECONFIG=$file "$KF_BUILD/cli/kflex" create cp1 || die "kflex create cp1 failed"
	elif ! "$KF_BIN_kubernetes/kubectl" config --kubeconfig "$file" get-contexts cp1 >/dev/null 2>&1; then
		KUBECONFIG=$file "$KF_BUILD/cli/kflex" ctx cp1 || die "kflex ctx cp1 failed"
	fi
}
