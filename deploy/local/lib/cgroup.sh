# shellcheck shell=bash disable=SC2034,SC2154 # names are shared among the files that up and down put together
# Control groups of an instance, on v1 and v2 machines. Everything the node runs is below one group: <group>/node holds our own
# processes, <group>/kubepods (made by the kubelet) those of the pods, so nothing mixes with other users of the machine.

KF_CGROUP_NEEDED="cpu memory pids"

cgroup_is_v2() { [[ $(stat -f -c %T /sys/fs/cgroup) == cgroup2fs ]]; }

# cgroup_mounts TYPE: the mount points of the hierarchies of that type, cgroup (v1) or cgroup2.
cgroup_mounts() { awk -v type="^($1)\$" '{ for (i = 7; i < NF; i++) if ($i == "-") { if ($(i + 1) ~ type) print $5; break } }' /proc/self/mountinfo; }

# cgroup_make PATH: makes the group in each hierarchy with the controllers that pods need.
cgroup_make() {
	local path=$1 root
	if cgroup_is_v2; then
		cgroup_v2_make "$path"
		return
	fi
	for root in cpu memory pids; do
		[[ -d /sys/fs/cgroup/$root ]] || return 1
	done
	while read -r root; do cgroup_v1_make "$root" "$path" || return 1; done < <(cgroup_mounts cgroup)
}

# A new v1 cpuset group is empty and takes no process until it is given what its parent has.
cgroup_v1_make() {
	local dir=$1 part file
	local -a parts
	IFS=/ read -ra parts <<<"$2"
	for part in "${parts[@]}"; do
		[[ -d $dir/$part ]] || mkdir "$dir/$part" || return 1
		for file in cpuset.cpus cpuset.mems; do
			[[ ! -f $dir/$file || -n $(<"$dir/$part/$file") ]] || printf '%s' "$(<"$dir/$file")" >"$dir/$part/$file" || return 1
		done
		dir+=/$part
	done
}

# On v2 each level has to hand its controllers to the next.
cgroup_v2_make() {
	local dir=/sys/fs/cgroup part controller
	local -a parts
	IFS=/ read -ra parts <<<"$1"
	for part in "${parts[@]}" ''; do
		for controller in $(<"$dir/cgroup.controllers"); do
			printf '+%s' "$controller" 2>/dev/null >"$dir/cgroup.subtree_control" || true
		done
		for controller in $KF_CGROUP_NEEDED; do
			[[ " $(<"$dir/cgroup.subtree_control") " == *" $controller "* ]] || return 1
		done
		[[ -z $part || -d $dir/$part ]] || mkdir "$dir/$part" || return 1
		dir+=/$part
	done
}

# cgroup_enter PATH: moves this shell into the group's leaf for our own processes. On v2 a group that hands controllers on may hold
# no process itself, so the handing on (for a scope made by systemd, which started us in it) comes after the move.
cgroup_enter() {
	local root
	if cgroup_is_v2; then
		mkdir -p "/sys/fs/cgroup/$1/node" && printf 0 >"/sys/fs/cgroup/$1/node/cgroup.procs" && cgroup_v2_make "$1"
		return
	fi
	while read -r root; do
		cgroup_v1_make "$root" "$1/node" && printf 0 >"$root/$1/node/cgroup.procs" || return 1
	done < <(cgroup_mounts cgroup)
}

# cgroup_kill PATH: ends what is left in the group. Nothing is, unless the state folder was lost while its node ran.
cgroup_kill() {
	local root=/sys/fs/cgroup
	cgroup_is_v2 || root=/sys/fs/cgroup/pids
	[[ -d $root/$1 ]] || return 0
	wait_until 20 cgroup_kill_once "$root/$1" || die "processes in the control group $1 do not end"
}

cgroup_kill_once() {
	local -a ids
	mapfile -t ids < <(find "$1" -name cgroup.procs -exec cat {} + 2>/dev/null)
	((${#ids[@]} == 0)) && return 0
	kill -KILL "${ids[@]}" 2>/dev/null
	return 1
}

cgroup_empty_dirs() {
	local root left=0
	while read -r root; do
		[[ -d $root/$1 ]] || continue
		find "$root/$1" -depth -type d -exec rmdir {} + 2>/dev/null || true
		[[ ! -d $root/$1 ]] || left=1
	done < <(cgroup_mounts 'cgroup|cgroup2')
	((left == 0))
}

# cgroup_remove PATH: removes the group; its processes are gone by now, but the kernel may need a moment.
cgroup_remove() {
	local root
	wait_until 10 cgroup_empty_dirs "$1" || warn "some control groups of $1 could not be removed: they still hold processes"
	while read -r root; do
		[[ $1 != */* ]] || rmdir "$root/${1%/*}" 2>/dev/null || true
	done < <(cgroup_mounts 'cgroup|cgroup2')
}
