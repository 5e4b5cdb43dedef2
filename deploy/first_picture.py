"""Runs README's first command, `make serve`, and generates an image over HTTP. Needs only Python's standard library.

Run in a clone as `python3 deploy/first_picture.py [--port N] [--minutes N]`; fails unless the response is a PNG.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[1]
_BODY = {
    "prompt": "a large red circle left of a small blue square",
    "seed": 1,
    "response_format": "binary",
}
_PNG = b"\x89PNG\r\n\x1a\n"


def picture(base_url: str, server: subprocess.Popen[bytes], seconds: float) -> bytes:
    """Waits until the server is installed, loaded and ready, and generates an image.

    Raises:
        RuntimeError: it exited, or is not ready in time.
    """
    ends = time.monotonic() + seconds
    while True:
        if server.poll() is not None:
            raise RuntimeError(f"make serve exited with status {server.returncode}")
        if time.monotonic() > ends:
            raise RuntimeError(f"the server is not ready after {seconds:g} s")
        try:
            with urllib.request.urlopen(f"{base_url}/readyz", timeout=5):
                break
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    request = urllib.request.Request(
        f"{base_url}/v1/generate", json.dumps(_BODY).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        content: bytes = response.read()
    return content


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--minutes", type=float, default=15.0, help="to install, load and warm up")
    options = parser.parse_args()
    begun = time.monotonic()
    server = subprocess.Popen(["make", "serve", f"PORT={options.port}"], cwd=ROOT, start_new_session=True)
    try:
        content = picture(f"http://127.0.0.1:{options.port}", server, 60 * options.minutes)
    except RuntimeError as error:
        print(f"first_picture: {error}", file=sys.stderr)
        return 1
    finally:
        if server.poll() is None:
            # Only to make, which forwards it: a second signal would kill the server.
            server.terminate()
        server.wait()
    if not content.startswith(_PNG):
        print(f"first_picture: the response is not a PNG: {content[:100]!r}", file=sys.stderr)
        return 1
    print(f"make serve: a picture of {len(content)} bytes after {time.monotonic() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
