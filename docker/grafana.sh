#!/bin/sh
# Sets the password of Grafana's `admin`: from a secret, or generated at the first start and kept beside Grafana's data,
# readable by Grafana alone. There is never a well-known password.
set -eu

data=${GF_PATHS_DATA:-/var/lib/grafana}
password=${SECRETS_DIR:-/run/secrets}/grafana_admin_password

if [ ! -e "$password" ]; then
    password=$data/admin_password
    if [ ! -s "$password" ]; then
        (umask 077 && head -c 24 /dev/urandom | base64 > "$password")
        echo "the password of admin is in $password"
    fi
fi
export GF_SECURITY_ADMIN_PASSWORD__FILE="$password"

exec "${GRAFANA:-/run.sh}" "$@"
