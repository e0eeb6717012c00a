# shellcheck shell=bash disable=SC2034,SC2154 # names are shared among the files that up and down put together
# One function per image: it fills the folder $ROOT and sets CONFIG. Upstream's images keep their names, users, entrypoints and
# file capabilities. Needs archive.sh, KF_BIN_<program> and the KF_*_VERSION of deploy/local/lib/programs.sh.

KF_IMAGES=(pause kube-apiserver kube-controller-manager kubectl kine etcd coredns traefik postgres standin)
KF_OWN_PROGRAMS=(bus/kubeflex-bus watcher/kubeflex-watcher reconcilers/kubeflex-reconciler storage-agent/kubeflex-storage-agent cli/kflex)
KF_PATH='"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"'
KF_CERTS='"SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"'

image_ref() {
	case $1 in
	pause) printf 'registry.k8s.io/pause:3.10' ;;
	kube-apiserver | kube-controller-manager) printf 'registry.k8s.io/%s:v%s' "$1" "$KF_KUBERNETES_VERSION" ;;
	kubectl) printf 'kubeflex.local/kubectl:v%s' "$KF_KUBERNETES_VERSION" ;;
	kine) printf 'docker.io/rancher/kine:v%s' "$KF_KINE_VERSION" ;;
	etcd) printf 'quay.io/coreos/etcd:v%s' "$KF_ETCD_VERSION" ;;
	coredns) printf 'registry.k8s.io/coredns/coredns:v%s' "$KF_COREDNS_VERSION" ;;
	traefik) printf 'docker.io/library/traefik:v%s' "$KF_TRAEFIK_VERSION" ;;
	postgres) printf 'docker.io/library/postgres:15' ;;
	standin) printf 'kubeflex.local/standin:v%s' "$KF_KUBERNETES_VERSION" ;;
	esac
}

# image_inputs NAME: what the image depends on besides the files of this folder.
image_inputs() {
	case $1 in
	pause) dpkg-query -W gcc libc6-dev ;;
	kube-apiserver | kube-controller-manager | kubectl) printf '%s\n' "$KF_BIN_kubernetes" ;;
	standin) printf '%s\n' "$KF_BIN_standin" "$KF_BIN_kubernetes" "$KF_BIN_etcd" ;;
	postgres) dpkg-query -W postgresql-15 postgresql-client-15 libc6 libssl3 libpq5 dash coreutils ;;
	*) local dir=KF_BIN_$1 && printf '%s\n' "${!dir}" ;;
	esac
}

fill_pause() {
	mkdir -p "$ROOT"
	gcc -Os -static -s -o "$ROOT/pause" "$KF_IMAGE_SOURCE/pause.c"
	CONFIG='"User":"65535:65535","Env":['$KF_PATH'],"Entrypoint":["/pause"],"WorkingDir":"/"'
}

# Like the official image, so that one that may bind port 443 without being root stays possible.
fill_kube-apiserver() {
	tree_start "$ROOT"
	cp "$KF_BIN_kubernetes/kube-apiserver" "$ROOT/usr/local/bin/"
	setcap cap_net_bind_service=+ep "$ROOT/usr/local/bin/kube-apiserver"
	CONFIG='"Env":['$KF_PATH','$KF_CERTS'],"WorkingDir":"/"'
}

fill_kube-controller-manager() {
	tree_start "$ROOT"
	cp "$KF_BIN_kubernetes/kube-controller-manager" "$ROOT/usr/local/bin/"
	CONFIG='"Env":['$KF_PATH','$KF_CERTS'],"WorkingDir":"/"'
}

fill_kubectl() {
	tree_start "$ROOT"
	cp "$KF_BIN_kubernetes/kubectl" "$ROOT/usr/local/bin/"
	CONFIG='"User":"65532:65532","Env":['$KF_PATH','$KF_CERTS'],"Entrypoint":["/usr/local/bin/kubectl"],"WorkingDir":"/tmp"'
}

fill_kine() {
	tree_start "$ROOT"
	cp "$KF_BIN_kine/kine" "$ROOT/usr/bin/"
	mkdir -m 1777 "$ROOT/db"
	CONFIG='"Env":['$KF_PATH','$KF_CERTS'],"Entrypoint":["/bin/kine"],"WorkingDir":"/"'
}

fill_etcd() {
	tree_start "$ROOT"
	cp "$KF_BIN_etcd/etcd" "$ROOT/usr/local/bin/"
	CONFIG='"Env":['$KF_PATH','$KF_CERTS'],"Cmd":["/usr/local/bin/etcd"],"WorkingDir":"/"'
}

fill_coredns() {
	tree_start "$ROOT"
	cp "$KF_BIN_coredns/coredns" "$ROOT/coredns"
	setcap cap_net_bind_service=+ep "$ROOT/coredns"
	CONFIG='"User":"65532:65532","Env":['$KF_PATH','$KF_CERTS'],"Entrypoint":["/coredns"],"WorkingDir":"/"'
}

fill_traefik() {
	tree_start "$ROOT"
	cp "$KF_BIN_traefik/traefik" "$ROOT/usr/local/bin/"
	CONFIG='"Env":['$KF_PATH','$KF_CERTS'],"Entrypoint":["/usr/local/bin/traefik"],"WorkingDir":"/"'
}

# Debian's server without its just-in-time compiler, which needs 100 MB of libraries and which the server does without if absent.
fill_postgres() {
	local lib=/usr/lib/postgresql/15 share=/usr/share/postgresql/15 tool path
	tree_start "$ROOT"
	mkdir -p "$ROOT$lib/bin" "$ROOT$share" "$ROOT/usr/share/zoneinfo/Etc" "$ROOT/docker-entrypoint-initdb.d" "$ROOT/usr/lib/locale"
	for tool in initdb postgres pg_ctl pg_isready pg_dump pg_dumpall pg_restore psql; do cp "$lib/bin/$tool" "$ROOT$lib/bin/"; done
	cp -r "$lib/lib" "$ROOT$lib/lib"
	rm -rf "$ROOT$lib/lib/bitcode" "$ROOT$lib"/lib/llvmjit*
	cp -rL "$share/." "$ROOT$share/"
	rm -rf "$ROOT$share/man"
	cp -L /usr/share/zoneinfo/{UTC,GMT} "$ROOT/usr/share/zoneinfo/"
	cp -L /usr/share/zoneinfo/UTC "$ROOT/usr/share/zoneinfo/Etc/UTC"
	cp -r /usr/lib/locale/C.utf8 "$ROOT/usr/lib/locale/"
	for tool in sh cat chmod chown id ls mkdir mv rm setpriv sleep; do
		path=$(readlink -f "$(command -v "$tool")")
		cp "$path" "$ROOT/usr/bin/$tool"
	done
	tree_libraries "$ROOT" "$ROOT$lib"/bin/* "$ROOT$lib"/lib/*.so "$ROOT"/usr/bin/*
	printf 'postgres:x:999:999::/var/lib/postgresql:/bin/sh\n' >>"$ROOT/etc/passwd"
	printf 'postgres:x:999:\n' >>"$ROOT/etc/group"
	sed -i "s/^#listen_addresses = .*/listen_addresses = '*'/" "$ROOT$share/postgresql.conf.sample"
	install -m 0755 "$KF_IMAGE_SOURCE/postgres-entrypoint" "$ROOT/usr/local/bin/docker-entrypoint.sh"
	mkdir -p "$ROOT/var/lib/postgresql/data" "$ROOT/run/postgresql"
	ln -s /run "$ROOT/var/run"
	chown -R 999:999 "$ROOT/var/lib/postgresql" "$ROOT/run/postgresql"
	chmod 1777 "$ROOT/var/lib/postgresql/data"
	chmod 3777 "$ROOT/run/postgresql"
	CONFIG='"Env":["PATH=/usr/local/bin:'$lib'/bin:/usr/bin:/bin","LANG=C.UTF-8","PG_MAJOR=15","PGDATA=/var/lib/postgresql/data"],
		"Entrypoint":["docker-entrypoint.sh"],"Cmd":["postgres"],"ExposedPorts":{"5432/tcp":{}},"StopSignal":"SIGINT"'
}

# No vCluster, k3s or multicluster-controlplane: one program that stands in for each of them in tests (deploy/local/programs/standin),
# under their names, and what it runs.
fill_standin() {
	local name
	tree_start "$ROOT"
	mkdir "$ROOT/binaries"
	for name in kube-apiserver kube-controller-manager; do cp "$KF_BIN_kubernetes/$name" "$ROOT/binaries/"; done
	cp "$KF_BIN_etcd/etcd" "$ROOT/binaries/"
	for name in vcluster multicluster-controlplane usr/bin/k3s; do cp "$KF_BIN_standin/standin" "$ROOT/$name"; done
	CONFIG='"User":"65532:65532","Env":['$KF_PATH','$KF_CERTS'],"Entrypoint":["/bin/k3s"],"WorkingDir":"/tmp"'
}

# All our programs in one image, so that they share the pages of their libraries. No shell.
fill_kubeflex() {
	local program
	tree_start "$ROOT"
	for program in "${KF_OWN_PROGRAMS[@]}"; do install -m 0755 -s "$KF_BUILD/$program" "$ROOT/usr/local/bin/"; done
	tree_libraries "$ROOT" "$ROOT"/usr/local/bin/*
	CONFIG='"User":"65532:65532","Env":['$KF_PATH','$KF_CERTS'],"WorkingDir":"/"'
}
