#!/bin/sh
# Passes secrets that are mounted as files to the server, and execs it, so that the server receives the container's signals.
# Arguments are those of `flashu serve`. Variables that are already set stay as they are.
set -eu

secrets=${SECRETS_DIR:-/run/secrets}

# The server reloads the keys when the file changes, so it gets the file's path and not its content.
if [ -z "${FLASHU_API_KEYS:-}${FLASHU_API_KEY_FILE:-}" ] && [ -e "$secrets/flashu_api_keys" ]; then
    export FLASHU_API_KEY_FILE="$secrets/flashu_api_keys"
fi
# The hub's library reads its token from the file itself.
if [ -z "${HF_TOKEN:-}${HF_TOKEN_PATH:-}" ] && [ -e "$secrets/hf_token" ]; then
    export HF_TOKEN_PATH="$secrets/hf_token"
fi

exec python -m server "$@"
