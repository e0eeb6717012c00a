# shellcheck shell=bash disable=SC2034,SC2154 # names are shared among the files that up and down put together
# Image archives in the cache, and their import into a node.

# image_path NAME: the archive's place; its name changes with anything that the image is made from.
image_path() {
	local key
	key=$({
		image_ref "$1"
		image_inputs "$1"
		declare -f "fill_$1" tree_start tree_libraries archive_write
		if [[ $1 == pause ]]; then cat "$KF_IMAGE_SOURCE/pause.c"; fi
		if [[ $1 == postgres ]]; then cat "$KF_IMAGE_SOURCE/postgres-entrypoint"; fi
	} | hash_of)
	printf '%s/images/%s-%s.tar' "$KF_CACHE" "$1" "$key"
}

# image_build NAME REF PATH
image_build() {
	local ROOT CONFIG=''
	ROOT=$(mktemp -d "$KF_CACHE/images/.root-$1-XXXXXX")
	chmod 0755 "$ROOT"
	"fill_$1"
	archive_write "$2" "$ROOT" "$CONFIG" "$3"
}

# Sets KF_ARCHIVE_OF for all upstream images and KF_SEED, making what is missing.
images_make() {
	local name path
	local -a missing=()
	mkdir -p "$KF_CACHE/images"
	declare -gA KF_ARCHIVE_OF=()
	for name in "${KF_IMAGES[@]}"; do
		path=$(image_path "$name")
		KF_ARCHIVE_OF[$name]=$path
		[[ -f $path && -f $path.digest ]] || missing+=("$name")
	done
	KF_SEED=$KF_CACHE/images/seed-$(printf '%s\n' "${KF_ARCHIVE_OF[@]}" | sort | hash_of)
	((${#missing[@]} > 0)) || [[ ! -d $KF_SEED ]] || return 0
	lock_take "$KF_CACHE/images.lock" "makes images" 600
	rm -rf "$KF_CACHE"/images/.root-* "$KF_CACHE"/images/.seed-* "$KF_CACHE"/images/.new-*
	((${#missing[@]} == 0)) || step "making images: ${missing[*]}" images_build "${missing[@]}"
	[[ -d $KF_SEED ]] || step "unpacking images" seed_build
	lock_drop
}

images_build() {
	local name
	for name in "$@"; do
		[[ -f ${KF_ARCHIVE_OF[$name]}.digest ]] || image_build "$name" "$(image_ref "$name")" "${KF_ARCHIVE_OF[$name]}"
		# Older makings of the same image; a younger one may be what another checkout is about to run.
		find "$KF_CACHE/images" -maxdepth 1 -name "$name-????????????????.tar*" -mmin +1440 ! -name "$(basename "${KF_ARCHIVE_OF[$name]}")*" -delete
	done
}

# A containerd folder with all images unpacked. A new node gets it by hard links, in no time, and instances share the pages of
# the programs. Safe, because containerd and overlayfs never write to what is unpacked: only its databases are real copies.
seed_build() {
	local dir
	dir=$(mktemp -d "$KF_CACHE/images/.seed-XXXXXX")
	unshare --fork --pid --kill-child --mount "$KF_HERE/node/unpack" "$dir/root" "${KF_ARCHIVE_OF[@]}" || die "the images could not be unpacked"
	find "$KF_CACHE/images" -maxdepth 1 -name 'seed-*' -mmin +1440 -exec rm -rf {} +
	mv -T "$dir/root" "$KF_SEED"
	rmdir "$dir"
}

# Across file systems there are no hard links; the images are then imported one by one.
seed_plant() {
	local file new=$KF_STATE/.containerd.new
	[[ ! -d $KF_STATE/containerd ]] || return 0
	rm -rf "$new"
	if cp -al "$KF_SEED" "$new" 2>/dev/null; then
		while read -r file; do
			cp --reflink=auto "$file" "$file.copy"
			mv -f "$file.copy" "$file"
		done < <(find "$new" -name '*.db')
	else
		rm -rf "$new"
		mkdir "$new"
	fi
	mv -T "$new" "$KF_STATE/containerd"
}

# Sets KF_TAG, the hash of all that goes into our own image, and its archive.
own_image_make() {
	local program path libraries_list
	local -a libraries
	for program in "${KF_OWN_PROGRAMS[@]}"; do
		[[ -x $KF_BUILD/$program ]] || die "$KF_BUILD/$program was not built; see $KF_BUILD.log"
	done
	libraries_list=$(cd "$KF_BUILD" && libraries_of "${KF_OWN_PROGRAMS[@]/#/./}") || die "the programs of KubeFlex lack libraries"
	mapfile -t libraries <<<"$libraries_list"
	KF_TAG=$({
		cd "$KF_BUILD" || exit
		sha256sum "${KF_OWN_PROGRAMS[@]}" "${libraries[@]}" /etc/ssl/certs/ca-certificates.crt
		declare -f fill_kubeflex tree_start tree_libraries archive_write
	} | hash_of)
	path=$KF_CACHE/images/kubeflex-$KF_TAG.tar
	KF_ARCHIVE_OF[kubeflex]=$path
	[[ -f $path && -f $path.digest ]] && return 0
	lock_take "$KF_CACHE/images.lock" "makes images" 600
	step "making image kubeflex.local/kubeflex:$KF_TAG" image_build kubeflex "kubeflex.local/kubeflex:$KF_TAG" "$path"
	find "$KF_CACHE/images" -maxdepth 1 -name 'kubeflex-*.tar*' -mmin +1440 ! -name "kubeflex-$KF_TAG.tar*" -delete
	lock_drop
}

# images_absent: the archives whose image the node does not have, or has with other content.
images_absent() {
	local name present image
	present=$(node_run ctr -n k8s.io images list | awk 'NR > 1 { print $1, $3 }') || return 1
	for name in "${!KF_ARCHIVE_OF[@]}"; do
		image=$(<"${KF_ARCHIVE_OF[$name]}.digest") || return 1
		grep -qxF "$image" <<<"$present" || printf '%s\n' "${KF_ARCHIVE_OF[$name]}"
	done
}

image_import() { node_run timeout 120 ctr -n k8s.io images import - <"$1" >/dev/null; }

# Two at a time, as most of it is computing checksums.
images_import() {
	local archive names running=0 failed=0
	local -a absent
	wait_until 30 containerd_answers || fail_with_log containerd "containerd did not answer in 30 s"
	names=$(images_absent) || fail_with_log containerd "containerd does not list its images"
	mapfile -t absent < <(xargs -r ls -Sr <<<"$names")
	for archive in "${absent[@]}"; do
		if ((running == 2)); then
			wait -n || failed=1
			((running--))
		fi
		image_import "$archive" &
		((++running))
	done
	while ((running-- > 0)); do wait -n || failed=1; done
	((failed == 0)) || fail_with_log containerd "an image could not be imported"
}

# real_image_import NAME TAR: an image that somebody has, to be used for planes of that type instead of the stand-in.
real_image_import() {
	local out ref
	out=$(node_run timeout 600 ctr -n k8s.io images import - <"$2" 2>"$KF_STATE/logs/import.log") || fail_with_log import "$2 is no image archive that containerd can read"
	ref=$(awk '{ for (i = 1; i <= NF; i++) if ($i ~ /[.].*\/.*:/ && $i !~ /sha256:/) { sub(/\t.*/, "", $i); print $i; exit } }' <<<"$out")
	[[ -n $ref ]] || die "$2 holds no image with a name: make the archive with a tag (docker save NAME:TAG)"
	mkdir -p "$KF_STATE/real"
	printf '%s\n' "$ref" >"$KF_STATE/real/$1"
	say "planes of type $1 use image $ref"
}
