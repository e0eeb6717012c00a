# shellcheck shell=bash disable=SC2034,SC2154 # names are shared among the files that up and down put together
# The Kubernetes programs, built from published Go modules, once per recipe. A recipe is programs/<name>/go.mod, go.sum and the
# lines below; its hash names the folder in the cache, so a changed recipe is a new folder and a finished one is never written to.

KF_KUBERNETES_VERSION=1.36.3
KF_ETCD_VERSION=3.7.3
KF_KINE_VERSION=0.17.2
KF_COREDNS_VERSION=1.15.0
KF_TRAEFIK_VERSION=3.6.0
KF_PROGRAMS=(kubernetes etcd kine coredns traefik standin)

program_packages() {
	case $1 in
	kubernetes) printf 'k8s.io/kubernetes/cmd/%s\n' kube-apiserver kube-controller-manager kube-proxy kube-scheduler kubectl kubelet ;;
	etcd) printf 'go.etcd.io/etcd/server/v3\n' ;;
	kine) printf 'github.com/k3s-io/kine\n' ;;
	coredns) printf 'github.com/coredns/coredns\n' ;;
	traefik) printf 'github.com/traefik/traefik/v3/cmd/traefik\n' ;;
	standin) printf '.\n' ;; # its source is in its folder
	esac
}

# Without these the programs report version v0.0.0, which clients and our own version checks would believe.
program_ldflags() {
	local at minor=${KF_KUBERNETES_VERSION#*.}
	printf -- '-s -w'
	case $1 in
	kubernetes)
		# The second is what clients send as User-Agent, by which the audit log tells them apart.
		for at in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
			printf -- ' -X %s.gitVersion=v%s -X %s.gitMajor=1 -X %s.gitMinor=%s -X %s.gitTreeState=clean -X %s.gitCommit=unknown' \
				$at $KF_KUBERNETES_VERSION $at $at "${minor%%.*}" $at $at
		done
		;;
	kine) printf -- ' -X github.com/k3s-io/kine/pkg/version.Version=v%s' $KF_KINE_VERSION ;;
	traefik) printf -- ' -X github.com/traefik/traefik/v3/pkg/version.Version=%s' $KF_TRAEFIK_VERSION ;;
	esac
}

# A single main package gets the program's name (etcd's would be "v3"); of several each has its own.
program_output() { if [[ $1 == kubernetes ]]; then printf '%s/' "$2"; else printf '%s/%s' "$2" "$1"; fi; }

program_dir() {
	local source=$KF_HERE/programs/$1 key
	key=$({
		cat "$source/go.mod" "$source/go.sum"
		find "$source" -name '*.go' | LC_ALL=C sort | xargs -r cat
		program_packages "$1"
		program_ldflags "$1"
		uname -m
	} | hash_of)
	printf '%s/programs/%s-%s' "$KF_CACHE" "$1" "$key"
}

program_build() {
	local name=$1 dir=$2 tmp packages
	mkdir -p "$KF_CACHE/programs"
	rm -rf "$KF_CACHE/programs/.new-$name-"*
	tmp=$(mktemp -d "$KF_CACHE/programs/.new-$name-XXXXXX")
	mapfile -t packages < <(program_packages "$name")
	mkdir "$tmp/bin"
	CGO_ENABLED=0 GOFLAGS='-mod=readonly -buildvcs=false' GOWORK=off HOME=${HOME:-/root} \
		go -C "$KF_HERE/programs/$name" build -trimpath -ldflags "$(program_ldflags "$name")" \
		-o "$(program_output "$name" "$tmp/bin")" "${packages[@]}" >"$tmp/log" 2>&1 ||
		{
			tail -n 20 "$tmp/log" >&2
			die "building $name failed (log: $tmp/log)"
		}
	rm -f "$tmp/log"
	chmod 0755 "$tmp"
	mv -T "$tmp" "$dir"
}

programs_missing() {
	local name
	for name in "${KF_PROGRAMS[@]}"; do
		[[ -d $(program_dir "$name") ]] || printf '%s\n' "$name"
	done
}

# Sets KF_BIN_<name>. Two runs never build at once.
programs_make() {
	local name missing
	for name in "${KF_PROGRAMS[@]}"; do printf -v "KF_BIN_$name" '%s/bin' "$(program_dir "$name")"; done
	[[ -n $(programs_missing) ]] || return 0
	lock_take "$KF_CACHE/build.lock" "builds programs" 7200
	mapfile -t missing < <(programs_missing)
	((${#missing[@]} == 0)) || say "building ${missing[*]}: about 16 minutes for all on two cores, once per machine"
	for name in "${missing[@]}"; do
		step "building $name" program_build "$name" "$(program_dir "$name")"
	done
	lock_drop
}

# Our own programs. The build folder belongs to this checkout and lies in the cache: the checkout stays clean.
meson_make() {
	[[ -f $KF_REPO/meson.build ]] || return 0
	KF_BUILD=$KF_CACHE/meson/$(printf '%s' "$KF_REPO" | hash_of)
	lock_take "$KF_CACHE/meson.lock" "builds with meson" 1800
	mkdir -p "$KF_BUILD"
	if [[ ! -f $KF_BUILD/build.ninja ]]; then
		rm -rf "$KF_BUILD"
		meson setup --buildtype=release "$KF_BUILD" "$KF_REPO" >"$KF_BUILD.log" 2>&1 || meson_failed
	fi
	meson compile -C "$KF_BUILD" >"$KF_BUILD.log" 2>&1 || meson_failed
	lock_drop
}

meson_failed() {
	tail -n 25 "$KF_BUILD.log" >&2
	die "building KubeFlex failed (log: $KF_BUILD.log)"
}
