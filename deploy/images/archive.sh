# shellcheck shell=bash disable=SC2034,SC2154 # names are shared among the files that up and down put together
# Makes image archives in the OCI layout, each with a single layer and no base image, and the root folders that go into them.

# tree_start ROOT: the folders and files that every image has.
tree_start() {
	local root=$1 dir
	mkdir -p "$root"/{etc/ssl/certs,tmp,usr/bin,usr/sbin,usr/lib,usr/lib64,usr/local/bin,var/tmp,root,home/nonroot}
	for dir in bin sbin lib lib64; do ln -s "usr/$dir" "$root/$dir"; done
	chmod 1777 "$root/tmp" "$root/var/tmp"
	chmod 0700 "$root/root"
	printf '%s\n' root:x:0:0:root:/root:/sbin/nologin nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin \
		nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin >"$root/etc/passwd"
	printf '%s\n' root:x:0: nobody:x:65534: nonroot:x:65532: >"$root/etc/group"
	printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
	cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
}

# libraries_of FILE…: what the dynamic loader would load for them, the loader included. Fails when something is missing.
libraries_of() {
	ldd "$@" 2>/dev/null | awk '
		/not found/ { print "missing library: " $0 > "/dev/stderr"; bad = 1 }
		$2 == "=>" && $3 ~ /^\// { print $3 }
		$1 ~ /^\// && $2 ~ /^\(/ { print $1 }
		END { exit bad }' | sort -u
}

# tree_libraries ROOT FILE…: copies those libraries under the names they are asked by.
tree_libraries() {
	local root=$1 library target list
	shift
	list=$(libraries_of "$@")
	while read -r library; do
		[[ -n $library ]] || continue
		# /lib is a link to /usr/lib in these images, as it is in Debian.
		target=$root/usr${library#/usr}
		[[ ! -e $target ]] || continue
		mkdir -p "${target%/*}"
		cp -L "$library" "$target"
	done <<<"$list"
}

image_architecture() { if [[ $(uname -m) == aarch64 ]]; then printf arm64; else printf amd64; fi; }

# blob_add DIR FILE: moves FILE into the layout's blobs and prints its digest.
blob_add() {
	local digest
	digest=$(sha256sum <"$2")
	mv "$2" "$1/blobs/sha256/${digest%% *}"
	printf '%s' "${digest%% *}"
}

descriptor() { printf '{"mediaType":"%s","digest":"sha256:%s","size":%d}' "$1" "$2" "$(stat -c %s "$3/blobs/sha256/$2")"; }

# archive_write REF ROOT CONFIG OUT: CONFIG is the inside of the image's "config" object. The layer stays uncompressed: it never
# travels, and unpacking it is most of what an import costs. Same input, same digest. Removes ROOT. OUT.digest tells what is in OUT.
archive_write() {
	local ref=$1 root=$2 config=$3 out=$4 dir layer image manifest entry type=application/vnd.oci.image
	dir=$(mktemp -d "${out%/*}/.new-XXXXXX")
	mkdir -p "$dir/blobs/sha256"
	tar -C "$root" -cf "$dir/layer" --sort=name --mtime=@0 --numeric-owner --format=posix \
		--pax-option='exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime' --xattrs --xattrs-include=security.capability .
	rm -rf "$root"
	layer=$(blob_add "$dir" "$dir/layer")
	printf '{"architecture":"%s","os":"linux","config":{%s},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]},"history":[{"created_by":"deploy/images"}]}' \
		"$(image_architecture)" "$config" "$layer" >"$dir/config"
	image=$(blob_add "$dir" "$dir/config")
	printf '{"schemaVersion":2,"mediaType":"%s.manifest.v1+json","config":%s,"layers":[%s]}' "$type" \
		"$(descriptor $type.config.v1+json "$image" "$dir")" "$(descriptor $type.layer.v1.tar "$layer" "$dir")" >"$dir/manifest"
	manifest=$(blob_add "$dir" "$dir/manifest")
	entry=$(descriptor $type.manifest.v1+json "$manifest" "$dir")
	printf '{"schemaVersion":2,"manifests":[%s,"annotations":{"io.containerd.image.name":"%s","org.opencontainers.image.ref.name":"%s"}}]}' \
		"${entry%\}}" "$ref" "${ref##*:}" >"$dir/index.json"
	printf '{"imageLayoutVersion":"1.0.0"}' >"$dir/oci-layout"
	tar -C "$dir" -cf "$dir.tar" oci-layout index.json blobs
	rm -rf "$dir"
	mv -f "$dir.tar" "$out"
	# Last: it says that the archive is complete.
	printf '%s sha256:%s\n' "$ref" "$manifest" >"$out.digest.new"
	mv -f "$out.digest.new" "$out.digest"
}
