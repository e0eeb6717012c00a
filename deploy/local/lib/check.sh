# shellcheck shell=bash disable=SC2034,SC2154 # names are shared among the files that up and down put together
# Can this machine run containers at all? Asked before anything big is installed or built, with a remedy for each "no".

KF_EXIT_CANNOT=3

# cannot WHAT REMEDY: the line a test runner looks for, and its own exit code.
cannot() {
	printf 'cannot run containers here: %s\n  remedy: %s\n' "$1" "$2"
	exit "$KF_EXIT_CANNOT"
}

check_root() {
	((EUID == 0)) || die "deploy/local needs root; run it with sudo"
	[[ $(uname -s) == Linux ]] || cannot "this is $(uname -s), not Linux" "use a Linux machine"
	[[ $(uname -m) == x86_64 || $(uname -m) == aarch64 ]] || cannot "no programs are built for $(uname -m)" "use x86_64 or aarch64"
	command -v apt-get >/dev/null || die "packages are installed by Debian name; apt-get is missing here"
}

check_go() {
	local version
	command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
	command -v go >/dev/null || die "Go is missing; install Go 1.26 or newer and put it on PATH"
	version=$(GOTOOLCHAIN=local go env GOVERSION 2>&1) || die "$(command -v go) does not run (${version:-no output}); install Go 1.26 or newer and put it first on PATH"
	[[ $version =~ go([0-9]+)\.([0-9]+) ]] || die "$(command -v go) calls its version '$version'; install Go 1.26 or newer and put it first on PATH"
	local major=${BASH_REMATCH[1]} minor=${BASH_REMATCH[2]}
	((major > 1 || (major == 1 && minor >= 26))) || die "Go ${version#go} ($(command -v go)) is too old; install Go 1.26 or newer and put it first on PATH"
}

has_cap() {
	local mask
	mask=$(sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status)
	(((0x$mask >> $1) & 1))
}

check_capabilities() {
	local missing='' entry
	for entry in chown:0 dac_override:1 fowner:3 kill:5 setgid:6 setuid:7 setpcap:8 net_bind_service:10 net_admin:12 \
		sys_chroot:18 sys_ptrace:19 sys_admin:21 mknod:27 setfcap:31; do
		has_cap "${entry#*:}" || missing+=" cap_${entry%:*}"
	done
	[[ -z $missing ]] || cannot "this root lacks$missing" "run on a machine (or in a container started with --privileged) whose root has them"
}

check_namespaces() {
	local ns
	for ns in mount pid net uts; do
		unshare --fork "--$ns" true 2>/dev/null ||
			cannot "no new $ns namespace can be made" "allow unshare(2) for root (seccomp profile, user.max_${ns}_namespaces)"
	done
}

# Containers lie on overlayfs below the state folder; overlayfs refuses some file systems as its upper layer.
check_overlay() {
	local dir result=0
	mkdir -p "$KF_BASE"
	dir=$(mktemp -d "$KF_BASE/.probe.XXXXXX")
	mkdir "$dir"/{lower,upper,work,merged}
	unshare --mount sh -c "mount -t overlay overlay -o lowerdir=$dir/lower,upperdir=$dir/upper,workdir=$dir/work $dir/merged &&
		: > $dir/merged/file" 2>/dev/null || result=1
	rm -rf "$dir"
	rmdir "$KF_BASE" 2>/dev/null || true
	((result == 0)) || cannot "overlayfs does not work in $KF_BASE" "load the module overlay, or set KUBEFLEX_STATE to a folder on ext4 or xfs"
}

check_cgroups() {
	[[ -d /sys/fs/cgroup ]] || cannot "/sys/fs/cgroup is not mounted" "mount cgroups (v1 or v2) there"
	cgroup_make kubeflex-probe 2>/dev/null ||
		cannot "no cgroup with cpu, memory and pids can be made" "make /sys/fs/cgroup writable with these controllers enabled (in a container: --privileged and a cgroup of its own)"
	cgroup_remove kubeflex-probe
}

check_disk() {
	local need=$1 path=$2 free
	while [[ ! -d $path ]]; do path=$(dirname "$path"); done
	free=$(df --output=avail -BM "$path" | tail -n 1 | tr -dc 0-9)
	((free >= need)) || die "$path has $free MB free, $need MB are needed; free some, or set KUBEFLEX_STATE / KUBEFLEX_CACHE elsewhere"
}

# Runs after the few network packages are there (iproute2 and iptables are not on every Debian).
check_network() {
	local out
	out=$(unshare --net --mount sh -ec '
		ip link set lo up
		ip link add kfp0 type veth peer name kfp1 || { echo "no veth pair can be made@load the module veth"; exit 1; }
		iptables -w 5 -t nat -A POSTROUTING -o kfp0 -m comment --comment probe -j MASQUERADE ||
			{ echo "iptables has no NAT in a new network namespace@load the modules nf_tables, nft_compat and nf_nat"; exit 1; }
		iptables -w 5 -A FORWARD -m conntrack --ctstate INVALID -j DROP ||
			{ echo "iptables cannot match connection states@load the module nf_conntrack"; exit 1; }
		echo 1 > /proc/sys/net/ipv4/ip_forward || { echo "/proc/sys is read-only@run with a writable /proc/sys"; exit 1; }
		' 2>/dev/null) || cannot "${out%@*}" "${out#*@}"
}

# check_kubeconfig_writable FILE: an existing file with write permission (root could write anyway; the bits say what its owner wants),
# in a folder where a file can be put beside it.
check_kubeconfig_writable() {
	local file=$1 dir=${1%/*}
	[[ ! -e $file || -f $file ]] || die "kubeconfig $file is not a regular file; set KUBECONFIG to another"
	[[ ! -e $file || -n $(find "$file" -maxdepth 0 -perm /222) ]] ||
		die "kubeconfig $file is read-only; make it writable (chmod u+w $file), or set KUBECONFIG to another"
	while [[ ! -e ${dir:-/} ]]; do dir=${dir%/*}; done
	[[ -d ${dir:-/} && -w ${dir:-/} ]] || die "kubeconfig $file cannot be written in ${dir:-/}; set KUBECONFIG to another"
}

# The instance's context goes into the user's kubeconfig. What is wrong with that file is said before anything long begins; what
# is in it can be told only once there is a kubectl.
check_kubeconfig() {
	local file kubectl out
	file=$(kubeconfig_path)
	kubectl=$(program_dir kubernetes)/bin/kubectl
	if [[ -x $kubectl && -f $file ]]; then
		KF_BIN_kubernetes=${kubectl%/*}
		out=$("$kubectl" config view --kubeconfig "$file" 2>&1 >/dev/null) ||
			die "kubeconfig $file cannot be read (${out%%$'\n'*}); repair it, or set KUBECONFIG to another"
		if context_is_there "$file"; then return 0; fi
	fi
	check_kubeconfig_writable "$file"
}

check_machine() {
	check_capabilities
	check_namespaces
	check_cgroups
	check_overlay
}
