# shellcheck shell=bash disable=SC2034,SC2154 # names are shared among the files that up and down put together
# An instance's number, its network namespace and the veth pair to the root namespace. Only the node's address is reachable from
# the root namespace; nothing is changed in its packet filter, and what pods send elsewhere is refused inside.

# number_is_free N: no other instance has it and no other route leads into its subnet (podman, for one, likes 10.89.0.0/24).
number_is_free() {
	local file route
	for file in "$KF_BASE"/*/number; do
		[[ ! -f $file || $(<"$file") != "$1" ]] || return 1
	done
	route=$(ip -4 route list root 10.89.0.0/16)$(ip -4 route list match "10.89.$1.0/24" scope link)
	[[ "$route" != *"10.89.$1."* && "$route" != *"10.89.0.0/16"* && "$route" != *"dev kf$1-root"* ]]
}

# number_take: keeps the number in the state folder. Number 0 is for the default instance.
number_take() {
	local n=1 last=50
	mkdir -p "$KF_STATE"
	chmod 0755 "$KF_BASE" "$KF_STATE"
	if [[ ! -s $KF_STATE/number ]]; then
		lock_take "/run/lock/kubeflex-local.lock" "chooses addresses" 60
		[[ $KF_INSTANCE != "$KF_DEFAULT_INSTANCE" ]] || n=0
		until number_is_free "$n"; do
			((++n <= last)) || die "no free subnet 10.89.N.0/24 is left; take instances down, or remove the route that covers them"
		done
		printf '%s\n' "$n" | write_file "$KF_STATE/number"
		lock_drop
	fi
	addresses_set "$(<"$KF_STATE/number")"
}

network_is_up() {
	ip netns exec "$KF_NETNS" true 2>/dev/null && [[ -d /sys/class/net/$KF_VETH_ROOT ]] &&
		[[ $(ip -4 -br addr show dev "$KF_VETH_ROOT") == *UP*"$KF_PEER_IP/24"* ]]
}

network_make() {
	network_is_up && return 0
	network_remove
	ip netns add "$KF_NETNS"
	ip link add "$KF_VETH_ROOT" type veth peer name "$KF_VETH_NODE" netns "$KF_NETNS"
	ip -n "$KF_NETNS" -batch - <<-END
		link set lo up
		addr add $KF_NODE_IP/24 dev $KF_VETH_NODE
		link set $KF_VETH_NODE up
		route add $KF_SERVICES.0.0/16 dev $KF_VETH_NODE scope link src $KF_NODE_IP
		route add unreachable default
	END
	nsenter --net="/run/netns/$KF_NETNS" sh -ec "
		echo 1 > /proc/sys/net/ipv4/ip_forward
		iptables -w 5 -t nat -A POSTROUTING -s $KF_PODS.0.0/16 -o $KF_VETH_NODE -j MASQUERADE"
	# Last, because its presence says that all is done.
	ip addr add "$KF_PEER_IP/24" dev "$KF_VETH_ROOT"
	ip link set "$KF_VETH_ROOT" up
}

network_remove() {
	if [[ -d /sys/class/net/$KF_VETH_ROOT ]]; then ip link delete "$KF_VETH_ROOT"; fi
	if [[ -e /run/netns/$KF_NETNS ]]; then ip netns delete "$KF_NETNS"; fi
}

# number_recall: the number of an instance that exists, also when its state folder is half gone.
number_recall() {
	local link
	if [[ -s $KF_STATE/number ]]; then
		addresses_set "$(<"$KF_STATE/number")"
	elif link=$(ip -n "$KF_NETNS" -o link 2>/dev/null | grep -o 'kf[0-9]*-node'); then
		link=${link#kf}
		addresses_set "${link%-node}"
	else
		return 1
	fi
}
