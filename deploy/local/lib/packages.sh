# shellcheck shell=bash disable=SC2034,SC2154 # names are shared among the files that up and down put together
# Debian packages by name; only the missing ones are installed, and none of them starts a service.

# Small ones first: the rest of the check needs them.
KF_PACKAGES_CHECK=(iproute2 iptables util-linux)
# What the node and the images are made of.
KF_PACKAGES_NODE=(ca-certificates conntrack containerd containernetworking-plugins curl libcap2-bin openssl postgresql-15
	procps runc tini)
# What our own programs are built with.
KF_PACKAGES_BUILD=(gcc libc6-dev meson ninja-build pkg-config python3 libcmocka-dev libcurl4-openssl-dev libczmq-dev
	libjansson-dev libmicrohttpd-dev libmsgpack-dev libpq-dev libssl-dev libyaml-dev libzmq3-dev)

KF_POLICY=/usr/sbin/policy-rc.d
KF_POLICY_MARK='# written by deploy/local while it installs packages'
KF_PG_CONF=/etc/postgresql-common/createcluster.conf

packages_missing() {
	local name states
	states=$'\n'$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null)$'\n' || true
	for name in "$@"; do
		[[ $states == *$'\n'"installed $name"$'\n'* ]] || printf '%s\n' "$name"
	done
}

# policy-rc.d is how Debian lets an administrator forbid that an installed package starts its service.
services_forbid() {
	services_allow
	[[ ! -e $KF_POLICY ]] || mv "$KF_POLICY" "$KF_POLICY.kubeflex-saved"
	printf '#!/bin/sh\n%s\nexit 101\n' "$KF_POLICY_MARK" >"$KF_POLICY"
	chmod 0755 "$KF_POLICY"
}

# Also undoes what a run left that was killed half-way.
services_allow() {
	if grep -qsF "$KF_POLICY_MARK" "$KF_POLICY"; then rm -f "$KF_POLICY"; fi
	if [[ -e $KF_POLICY.kubeflex-saved ]]; then mv "$KF_POLICY.kubeflex-saved" "$KF_POLICY"; fi
}

apt_install() {
	DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends \
		-o Dpkg::Options::=--force-confold -o DPkg::Lock::Timeout=300 install "$@" >"$KF_APT_LOG" 2>&1 ||
		{
			tail -n 20 "$KF_APT_LOG" >&2
			die "installing $* failed (log: $KF_APT_LOG)"
		}
}

# postgresql-15 would make and start a database cluster of its own, unless the common package says otherwise.
postgresql_install() {
	local saved=''
	apt_install postgresql-common
	if [[ -f $KF_PG_CONF ]]; then
		saved=$(mktemp)
		cp -p "$KF_PG_CONF" "$saved"
		sed -i 's/^#\? *create_main_cluster.*/create_main_cluster = false/' "$KF_PG_CONF"
		grep -q '^create_main_cluster = false' "$KF_PG_CONF" || printf 'create_main_cluster = false\n' >>"$KF_PG_CONF"
	fi
	apt_install postgresql-15
	[[ -z $saved ]] || { cp -p "$saved" "$KF_PG_CONF" && rm -f "$saved"; }
}

# On a systemd machine a package's service would still start at the next boot: not those that came with us.
services_disable() {
	local name unit
	[[ -d /run/systemd/system ]] || return 0
	for name in "$@"; do
		for unit in $(dpkg -L "$name" 2>/dev/null | sed -n 's|^\(/usr\)\?/lib/systemd/system/\([^@/]*\.service\)$|\2|p'); do
			systemctl disable --quiet "$unit" 2>/dev/null || true
		done
	done
}

packages_install() {
	local missing
	mapfile -t missing < <(packages_missing "$@")
	((${#missing[@]})) || return 0
	say "installing Debian packages: ${missing[*]}"
	KF_APT_LOG=$(mktemp /tmp/kubeflex-apt.XXXXXX)
	services_forbid
	trap services_allow EXIT
	apt-get -qq -o DPkg::Lock::Timeout=300 update >"$KF_APT_LOG" 2>&1 || warn "apt-get update failed (log: $KF_APT_LOG); trying with the lists at hand"
	if [[ " ${missing[*]} " == *" postgresql-15 "* ]]; then postgresql_install; fi
	apt_install "${missing[@]}"
	services_disable "${missing[@]}"
	services_allow
	trap - EXIT
	rm -f "$KF_APT_LOG"
}
