#!/bin/sh
# Builds the image with buildah, starts it as a container engine would, and generates an image with it. For machines
# without a container engine; with one, use `docker build .`. Needs root, buildah, util-linux, and debootstrap for a base
# image; see docker/README.md.
set -eu
umask 022

usage() {
    cat <<'END'
usage: docker/build.sh [--base IMAGE] [--torch-index URL] [--ca FILE] [--wheels FOLDER] [--storage FOLDER] [--mirror URL]

  --base IMAGE       image in the storage to build on; by default a bare Debian is made there, once
  --torch-index URL  where torch comes from; by default whatever pip finds
  --ca FILE          certificates that pip trusts during the build      (default: $PIP_CERT)
  --wheels FOLDER    wheels that pip may take during the build          (default: $PIP_FIND_LINKS)
  --storage FOLDER   where images are kept, for a next run; by default a temporary folder that goes when all is done
  --mirror URL       of Debian's packages                               (default: debootstrap's own)
END
}

base='' torch_index='' ca=${PIP_CERT:-} wheels=${PIP_FIND_LINKS:-} storage='' mirror=''
while [ $# -gt 0 ]; do
    case $1 in
        --help) usage; exit 0 ;;
        --base | --torch-index | --ca | --wheels | --storage | --mirror)
            [ $# -ge 2 ] || { echo "$1 needs a value" >&2; exit 2; } ;;
        *) echo "$1 is no option" >&2; usage >&2; exit 2 ;;
    esac
    case $1 in
        --base) base=$2 ;;
        --torch-index) torch_index=$2 ;;
        --ca) ca=$2 ;;
        --wheels) wheels=$2 ;;
        --storage) storage=$2 ;;
        --mirror) mirror=$2 ;;
    esac
    shift 2
done

project=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
storage=${storage:-$work/storage}
mkdir -p "$storage"

# vfs needs no kernel support, and chroot isolation no container runtime.
images() {
    buildah --root "$storage/root" --runroot "$storage/run" --storage-driver vfs "$@"
}

container=''
clean() {
    if [ -n "$container" ]; then images rm "$container" > /dev/null || true; fi
    rm -rf "$work"
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [ -z "$base" ]; then
    base=localhost/flashu-base
    if ! images inspect --type image "$base" > /dev/null 2>&1; then
        # No Python, as in the default base: the build installs it.
        debootstrap --variant=minbase --include=ca-certificates bookworm "$work/debian" \
            ${mirror:+"$mirror"} > "$work/debootstrap.log" || { tail "$work/debootstrap.log" >&2; exit 1; }
        rm -rf "$work"/debian/var/cache/apt/archives/*.deb "$work"/debian/var/lib/apt/lists/*
        tar -C "$work/debian" -cf "$work/debian.tar" .
        container=$(images from scratch)
        images add --quiet "$container" "$work/debian.tar" / > /dev/null
        images commit --quiet "$container" "$base" > /dev/null
        images rm "$container" > /dev/null
        container=''
        rm -rf "$work/debian" "$work/debian.tar"
    fi
fi

# This machine's pip settings for certificates and wheels apply to the build's pip as well and leave no trace: they are
# mounted read-only on empty folders that every base has, because buildah keeps mount points that it creates.
set --
if [ -n "$ca" ]; then
    mkdir "$work/certificates"
    cp "$ca" "$work/certificates/ca.crt"
    set -- "$@" --volume "$work/certificates:/mnt:ro" --build-arg PIP_CERT=/mnt/ca.crt
fi
if [ -n "$wheels" ]; then
    set -- "$@" --volume "$wheels:/srv:ro" --build-arg PIP_FIND_LINKS=/srv
fi

# The docker format, because OCI's has no health check.
images build --isolation chroot --pull-never --layers=false --format docker \
    --build-arg "BASE=$base" --build-arg "TORCH_INDEX=$torch_index" \
    "$@" --tag localhost/flashu-server "$project"
images images --format '{{.Name}} {{.Size}}' localhost/flashu-server

container=$(images from --pull-never localhost/flashu-server)
images inspect --type image localhost/flashu-server > "$work/image.json"
python3 "$project/docker/try_image.py" "$(images mount "$container")" "$work/image.json"
