#!/bin/sh
# Hands the server the secrets that are mounted as files, and becomes the server: `exec` makes it the process that gets
# the container's signals. Arguments are those of `flashu serve`. What the environment says already stays as it is.
set -eu

secrets=${SECRETS_DIR:-/run/secrets}

# The server reads the keys again when the file changes, so it gets the file and not what is in it.
if [ -z "${FLASHU_API_KEYS:-}${FLASHU_API_KEY_FILE:-}" ] && [ -e "$secrets/flashu_api_keys" ]; then
    export FLASHU_API_KEY_FILE="$secrets/flashu_api_keys"
fi
# The library that downloads models reads its token from a file by itself.
if [ -z "${HF_TOKEN:-}${HF_TOKEN_PATH:-}" ] && [ -e "$secrets/hf_token" ]; then
    export HF_TOKEN_PATH="$secrets/hf_token"
fi

exec python -m server "$@"
