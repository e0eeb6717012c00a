# shellcheck shell=bash disable=SC2034,SC2154 # names are shared among the files that up and down put together
# The instance's context in the user's kubeconfig, and the links on PATH.

kubeconfig_path() {
	local path=${KUBECONFIG:-}
	path=${path%%:*}
	readlink -m "${path:-${HOME:-/root}/.kube/config}"
}

# kubectl and kflex hold FILE.lock while they change a kubeconfig; so do we. Our own lock is known by what it holds.
kubeconfig_lock() {
	local holder start
	if (set -o noclobber && printf 'kubeflex-local %s %s\n' "$$" "$(proc_start $$)" >"$1.lock") 2>/dev/null; then return 0; fi
	if read -r _ holder start 2>/dev/null <"$1.lock" && [[ -n $holder && $(proc_start "$holder") != "$start" ]]; then
		rm -f "$1.lock"
	fi
	return 1
}

# kubeconfig_change FILE COMMAND…: runs COMMAND, which changes the file $COPY, and puts the result in place at once.
kubeconfig_change() {
	local file=$1 COPY
	shift
	mkdir -p "${file%/*}"
	wait_until 15 kubeconfig_lock "$file" || die "$file is locked; if no kubectl or kflex is running, remove $file.lock"
	COPY=$file.kubeflex-new
	(umask 077 && : >"$COPY")
	[[ ! -f $file ]] || cp -p "$file" "$COPY"
	if "$@"; then
		chmod 0600 "$COPY"
		mv -f "$COPY" "$file"
	else
		rm -f "$COPY"
		warn "$file was left as it is"
	fi
	rm -f "$file.lock"
}

copy_config() { "$KF_BIN_kubernetes/kubectl" config --kubeconfig "$COPY" "$@" >/dev/null; }

context_add() {
	local pki=$KF_STATE/pki current
	copy_config set-cluster "$KF_CONTEXT" "--server=https://$KF_NODE_IP:6443" "--certificate-authority=$pki/ca.crt" --embed-certs &&
		copy_config set-credentials "$KF_CONTEXT" "--client-certificate=$pki/admin.crt" "--client-key=$pki/admin.key" --embed-certs &&
		copy_config set-context "$KF_CONTEXT" "--cluster=$KF_CONTEXT" "--user=$KF_CONTEXT" || return 1
	current=$("$KF_BIN_kubernetes/kubectl" config --kubeconfig "$COPY" current-context 2>/dev/null) || current=''
	# Like other makers of local clusters, the default instance becomes the current context; the others only where there is none.
	[[ -n $current && $KF_INSTANCE != "$KF_DEFAULT_INSTANCE" ]] || {
		[[ -z $current || $current == "$KF_CONTEXT" ]] || printf '%s\n' "$current" >"$KF_STATE/context.before"
		copy_config use-context "$KF_CONTEXT"
	}
}

context_facts() {
	"$KF_BIN_kubernetes/kubectl" config --kubeconfig "$1" view --raw --minify --context "$KF_CONTEXT" \
		-o 'jsonpath={.clusters[0].cluster}{.users[0].user}' 2>/dev/null
}

# context_is_there FILE: it leads to this cluster already.
context_is_there() {
	local facts
	facts=$(context_facts "$1") || return 1
	[[ -n $facts && $facts == "$(context_facts "$KF_ADMIN")" ]]
}

kubeconfig_add() {
	local file
	file=$(kubeconfig_path)
	# For down, which may be run with another KUBECONFIG.
	if ! grep -qsxF -e "kept $file" -e "made $file" "$KF_STATE/kubeconfigs"; then
		printf '%s %s\n' "$([[ -e $file ]] && printf kept || printf made)" "$file" >>"$KF_STATE/kubeconfigs"
	fi
	context_is_there "$file" || kubeconfig_change "$file" context_add
}

# Also what kflex added for planes of this instance: whatever leads to the node's address.
context_remove() {
	local kubectl=$KF_BIN_kubernetes/kubectl kind name value current
	local -A gone_cluster=() gone_user=()
	current=$("$kubectl" config --kubeconfig "$COPY" current-context 2>/dev/null) || current=''
	while IFS=$'\t' read -r name value; do
		[[ $value != "https://$KF_NODE_IP:"* ]] || gone_cluster[$name]=1
	done < <("$kubectl" config --kubeconfig "$COPY" view -o 'jsonpath={range .clusters[*]}{.name}{"\t"}{.cluster.server}{"\n"}{end}')
	while IFS=$'\t' read -r name value kind; do
		[[ -n $value && -n ${gone_cluster[$value]:-} ]] || continue
		gone_user[$kind]=1
		copy_config delete-context "$name" 2>/dev/null || return 1
		[[ $name != "$current" ]] || copy_config unset current-context || return 1
	done < <("$kubectl" config --kubeconfig "$COPY" view -o \
		'jsonpath={range .contexts[*]}{.name}{"\t"}{.context.cluster}{"\t"}{.context.user}{"\n"}{end}')
	for name in "${!gone_cluster[@]}"; do copy_config delete-cluster "$name" || return 1; done
	for name in "${!gone_user[@]}"; do copy_config delete-user "$name" || return 1; done
	context_restore
}

# What was current before comes back, if our context was current until now and that one still exists.
context_restore() {
	local before
	[[ -s $KF_STATE/context.before ]] || return 0
	"$KF_BIN_kubernetes/kubectl" config --kubeconfig "$COPY" current-context >/dev/null 2>&1 && return 0
	before=$(<"$KF_STATE/context.before")
	if "$KF_BIN_kubernetes/kubectl" config --kubeconfig "$COPY" get-contexts "$before" >/dev/null 2>&1; then
		copy_config use-context "$before"
	fi
}

# Takes the context out of each file that it was put in, and a file away that was made for it and holds nothing else.
kubeconfig_remove() {
	local origin file
	if [[ ! -x $KF_BIN_kubernetes/kubectl ]]; then
		warn "the build cache is gone, so the context $KF_CONTEXT stays in your kubeconfig"
		return 0
	fi
	while read -r origin file <&3; do
		[[ -f $file ]] || continue
		if grep -qF "https://$KF_NODE_IP:" "$file"; then kubeconfig_change "$file" context_remove; fi
		if [[ $origin == made ]] && ! grep -q '^- ' "$file"; then rm -f "$file"; fi
	done 3< <(cat "$KF_STATE/kubeconfigs" 2>/dev/null || printf 'kept %s\n' "$(kubeconfig_path)")
}

# link_add TARGET: never over something that is not ours.
link_add() {
	local link=/usr/local/bin/${1##*/}
	if [[ -e $link || -L $link ]] && [[ $(readlink "$link") != "$KF_CACHE"/* ]]; then
		warn "$link is not ours and stays; ours is $1"
	elif [[ $(readlink "$link") != "$1" ]]; then
		mkdir -p /usr/local/bin
		ln -sfn "$1" "$link"
	fi
}

links_add() {
	[[ $KF_INSTANCE == "$KF_DEFAULT_INSTANCE" ]] || return 0
	link_add "$KF_BIN_kubernetes/kubectl"
	if [[ -x ${KF_BUILD:-}/cli/kflex ]]; then link_add "$KF_BUILD/cli/kflex"; fi
}

links_remove() {
	local link
	[[ $KF_INSTANCE == "$KF_DEFAULT_INSTANCE" ]] || return 0
	for link in /usr/local/bin/{kubectl,kflex}; do
		if [[ $(readlink "$link") == "$KF_CACHE"/* ]]; then rm -f "$link"; fi
	done
}
