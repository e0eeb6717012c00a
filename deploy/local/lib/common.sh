# shellcheck shell=bash disable=SC2034,SC2154 # names are shared among the files that up and down put together
# Names, paths, messages, deadlines and locks shared by up, down and node-exec. Sourced first.

# What the caller's environment must not change: number formats, the rights of files that go into images, where tools are found.
export LC_ALL=C
umask 022
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# Everything an instance owns hangs on these names. KF_* are read by the other files of this folder.
instance_set() {
	local name=$1
	[[ $name =~ ^[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?$ ]] ||
		die "'$name' is no instance name: use up to 22 small letters, digits and inner dashes"
	KF_INSTANCE=$name
	KF_DEFAULT_INSTANCE=local
	KF_BASE=${KUBEFLEX_STATE:-/var/lib/kubeflex-local}
	KF_CACHE=${KUBEFLEX_CACHE:-/var/cache/kubeflex}
	[[ $KF_BASE == /* && $KF_CACHE == /* ]] || die "KUBEFLEX_STATE and KUBEFLEX_CACHE must be absolute paths"
	[[ "$KF_BASE$KF_CACHE" != *[[:space:]\"\']* ]] || die "KUBEFLEX_STATE and KUBEFLEX_CACHE must not hold blanks or quotes"
	KF_STATE=$KF_BASE/$name
	# Instances of one name below two folders are two instances.
	local unique=$name
	[[ $KF_BASE == /var/lib/kubeflex-local ]] || unique+=-$(hash_of <<<"$KF_BASE" | cut -c 1-4)
	KF_NETNS=kubeflex-$unique
	KF_LOCK=/run/lock/kubeflex-local-$unique.lock
	KF_CONTEXT=kubeflex-$name
	KF_CGROUP=kubeflex-local/$unique
	KF_SCOPE=()
	# systemd may take apart control groups that were made behind its back, so there a scope of its own is asked for.
	if [[ -d /run/systemd/system ]]; then
		KF_CGROUP=kubeflex.slice/kubeflex-$unique.scope
		KF_SCOPE=(systemd-run --quiet --scope --collect --slice=kubeflex.slice "--unit=kubeflex-$unique" --property=Delegate=yes --)
	fi
	KF_NODE_NAME=kubeflex-control-plane
	KF_ADMIN=$KF_STATE/admin.kubeconfig
}

# The number of an instance decides its addresses, so that no two instances ever share a route.
addresses_set() {
	KF_NUMBER=$1
	KF_NODE_IP=10.89.$KF_NUMBER.1
	KF_PEER_IP=10.89.$KF_NUMBER.2
	KF_VETH_ROOT=kf$KF_NUMBER-root
	KF_VETH_NODE=kf$KF_NUMBER-node
	if ((KF_NUMBER == 0)); then
		KF_PODS=10.244 KF_SERVICES=10.96
	else
		KF_PODS=10.$((128 + KF_NUMBER)) KF_SERVICES=10.$((192 + KF_NUMBER))
	fi
}

say() { printf '%s\n' "$*"; }
warn() { printf 'warning: %s\n' "$*" >&2; }
die() {
	printf 'error: %s\n' "$*" >&2
	exit 1
}

# now_ms: milliseconds, without starting a process.
now_ms() { printf '%s' "$((${EPOCHREALTIME/./} / 1000))"; }

seconds_since() {
	local ms=$(($(now_ms) - $1))
	printf '%d.%d s' $((ms / 1000)) $((ms % 1000 / 100))
}

# step TEXT COMMAND…: runs COMMAND, saying what happens and how long it took.
step() {
	local text=$1 begin
	shift
	begin=$(now_ms)
	say "$text ..."
	"$@"
	say "  $text: $(seconds_since "$begin")"
}

# wait_until SECONDS COMMAND…: polls COMMAND ten times a second. 1 when the deadline passes.
wait_until() {
	local end=$(($(now_ms) + $1 * 1000))
	shift
	until "$@"; do
		(($(now_ms) < end)) || return 1
		sleep 0.1
	done
}

# fail_with_log COMPONENT[,COMPONENT] TEXT: ends the run, showing the end of those components' logs.
fail_with_log() {
	local log name
	printf 'error: %s\n' "$2" >&2
	for name in ${1//,/ }; do
		log=$KF_STATE/logs/$name.log
		[[ -s $log ]] || continue
		printf 'the last lines of %s:\n' "$log" >&2
		tail -n 12 "$log" | cut -c 1-400 >&2
	done
	exit 1
}

# write_file PATH: stdin becomes PATH at once or not at all; unchanged content leaves the file alone.
write_file() {
	local tmp
	tmp=$(mktemp "$1.XXXXXX")
	cat >"$tmp"
	if cmp -s "$tmp" "$1"; then rm -f "$tmp"; else
		chmod 0644 "$tmp"
		mv -f "$tmp" "$1"
	fi
}

hash_of() { sha256sum | cut -c 1-16; }

# lock_take PATH WHAT SECONDS: holds PATH on fd $KF_LOCK_FD. A holder may delete the file at its end (down does), so what
# was locked is compared with what lies there now.
lock_take() {
	local path=$1 what=$2 limit=$3
	mkdir -p "${path%/*}"
	while :; do
		exec {KF_LOCK_FD}>>"$path"
		if ! flock -n "$KF_LOCK_FD"; then
			say "waiting for another run that $what"
			flock -w "$limit" "$KF_LOCK_FD" || die "another run still $what after $limit s (lock $path)"
		fi
		[[ $path -ef /proc/self/fd/$KF_LOCK_FD ]] && return 0
		exec {KF_LOCK_FD}>&-
	done
}

lock_drop() { exec {KF_LOCK_FD}>&-; }

instance_lock() {
	lock_take "$KF_LOCK" "works on instance $KF_INSTANCE" 1800
	KF_INSTANCE_LOCK=$KF_LOCK_FD
}

# proc_start PID: start time of a process in ticks since boot; empty when there is none or it is a zombie.
proc_start() {
	local stat
	{ read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 0
	stat=${stat##*) }
	# shellcheck disable=SC2086
	set -- $stat
	[[ $1 == Z || $1 == X ]] || printf '%s' "${20}"
}
