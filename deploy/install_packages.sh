#!/usr/bin/env bash
# Installs Debian packages that are not there yet: deploy/install_packages.sh NAME... Services that come with them are
# not started.
set -euo pipefail
missing=()
for name in "$@"; do
    dpkg-query --show --showformat='${db:Status-Status}\n' "$name" 2> /dev/null | grep --quiet '^installed$' ||
        missing+=("$name")
done
[ "${#missing[@]}" -gt 0 ] || exit 0
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod +x "$policy"
fi
echo "installing ${missing[*]}"
apt-get update --quiet=2
DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends "${missing[@]}" > /dev/null
