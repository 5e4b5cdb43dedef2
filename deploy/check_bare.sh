#!/usr/bin/env bash
# Runs README's two commands in a bare Debian with only Python, make and git: `make test`, and `make serve` up to an image,
# each in its own clone of what is committed. Needs root, debootstrap and the package registries; takes about a quarter of an
# hour on two cores. This machine's pip settings (PIP_*, its configuration, local folders and certificates that these name)
# apply in it as well.
set -euo pipefail

usage() {
    cat <<'END'
usage: deploy/check_bare.sh [--root FOLDER] [--mirror URL] [COMMAND]

  --root FOLDER  of the bare Debian, made if it is not there; by default a temporary folder, removed at the end
  --mirror URL   of Debian's packages                                    (default: debootstrap's own)
  COMMAND        run in a fresh clone instead of README's two commands
END
}

root='' mirror='' command=''
while [ $# -gt 0 ]; do
    case $1 in
        --help) usage; exit 0 ;;
        --root | --mirror) [ $# -ge 2 ] || { echo "$1 needs a value" >&2; exit 2; } ;;
        --*) echo "$1 is not an option" >&2; usage >&2; exit 2 ;;
        *) command=$*; break ;;
    esac
    case $1 in
        --root) root=$2 ;;
        --mirror) mirror=$2 ;;
    esac
    shift 2
done
[ "$(id -u)" = 0 ] || { echo "deploy/check_bare.sh needs root" >&2; exit 2; }

project=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=${root:-$work/debian}
if [ ! -e "$root/usr/bin/git" ]; then
    debootstrap --variant=minbase --include=ca-certificates,git,make,python3,python3-venv bookworm "$root" \
        ${mirror:+"$mirror"} > "$work/debootstrap.log" || { tail "$work/debootstrap.log" >&2; exit 1; }
fi

# Files and folders that pip's configuration names, and the configuration itself.
named=$(python3 -m pip config list; env | grep '^PIP_' || true)
paths=$(grep --only-matching --extended-regexp "(^|[='\" ]|file://|\\\\n)/[^'\" \\\\]+" <<< "$named" |
    sed --regexp-extended "s#^([='\" ]|file://|\\\\n)##" | sort --unique || true)
mounts=()
for path in /etc/pip.conf /etc/xdg/pip $paths; do
    # An index of files has its files beside it.
    case $path in */simple) path=${path%/simple} ;; esac
    [ ! -e "$path" ] || mounts+=("$path")
done

# Runs in the chroot. Each of README's commands installs in its own clone, so that neither depends on the other.
cat > "$work/inside" <<'END'
set -eu
clone() {
    rm -rf "/root/$1"
    git -c safe.directory='*' clone --quiet /mnt "/root/$1"
    cd "/root/$1"
}
if [ $# -gt 0 ]; then
    clone command
    exec sh -euc "$*"
fi
clone serve
python3 deploy/first_picture.py --port 8031
cd /
rm -rf /root/serve
clone test
make test
END

# In its own mount namespace, so that no mount is left behind.
export root project work command
unshare --mount --propagation private bash -euo pipefail -s -- "${mounts[@]}" <<'END'
mount --bind --options ro "$project" "$root/mnt"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
for path in "$@"; do
    if [ -d "$path" ]; then
        mkdir -p "$root$path"
    else
        mkdir -p "$(dirname "$root$path")"
        [ -e "$root$path" ] || touch "$root$path"
    fi
    mount --bind --options ro "$path" "$root$path"
done
cp /etc/resolv.conf /etc/hosts "$root/etc/"
cp "$work/inside" "$root/inside"
mapfile -t variables < <(env | grep '^PIP_' || true)
exec chroot "$root" env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    "${variables[@]}" sh /inside ${command:+"$command"} < /dev/null
END
