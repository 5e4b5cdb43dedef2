"""Exits with 0 if this container's server is ready (`/readyz` at `FLASHU_HOST` and `FLASHU_PORT`), with 1 otherwise.
Needs only the standard library, no curl."""

from __future__ import annotations

import http.client
import os
import sys

TIMEOUT_S = 4.0  # below the container engine's own, so that the reason is printed
_EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - addresses to look up, not to bind


def main() -> int:
    given = os.environ.get("FLASHU_HOST", "")
    host, port = _EVERYWHERE.get(given, given), os.environ.get("FLASHU_PORT") or "8000"
    try:
        connection = http.client.HTTPConnection(host, int(port), timeout=TIMEOUT_S)
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException, ValueError) as error:
        print(f"no response from {host} port {port}: {type(error).__name__}", file=sys.stderr)
        return 1
    print(f"/readyz responded with {status}")
    return 0 if status == http.client.OK else 1


if __name__ == "__main__":
    sys.exit(main())
