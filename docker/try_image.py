"""Starts an unpacked image as a container engine would, generates an image over HTTP, and stops it. The entrypoint runs
as process 1 of a namespace, with a read-only root, the image's user and no capabilities.

Run as root: `try_image.py FOLDER CONFIG`, where CONFIG is the output of `buildah inspect --type image`. Prints its
findings as a JSON line; the exit status is 0 if everything was right.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

READY_WITHIN_S = 300.0
STOPPED_WITHIN_S = 60.0
PROMPT = "a large red circle left of a small blue square"
# The root is bind-mounted on itself to be read-only; /tmp is empty and small; only harmless devices exist.
_MOUNTS = """
set -eu
root=$1 cache=$2
shift 2
mount --bind "$root" "$root"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero random urandom; do
    : > "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mount -t proc proc "$root/proc"
mount -t tmpfs -o size=64m,mode=1777,nosuid,nodev tmpfs "$root/tmp"
mount --bind "$cache" "$root/cache"
mount -o remount,bind,ro "$root"
exec chroot "$root" "$@"
"""


class Image:
    """An unpacked image and its configuration."""

    def __init__(self, root: Path, config: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        self._root = root
        self.config = config
        user, _, group = config["User"].partition(":")
        given = dict(entry.split("=", 1) for entry in config["Env"])
        self._enter = [
            *("setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "--no-new-privs"),
            *("--inh-caps=-all", "--bounding-set=-all"),
            *("env", "-i", "-C", config["WorkingDir"]),
            *(f"{name}={value}" for name, value in {**given, **environment}.items()),
        ]

    def start(self, cache: Path) -> subprocess.Popen[bytes]:
        """Runs the entrypoint as process 1 of a namespace."""
        user, group = (int(number) for number in self.config["User"].split(":"))
        os.chown(cache, user, group)
        command = [*("sh", "-c", _MOUNTS, "sh", str(self._root), str(cache)), *self._enter, *self.config["Entrypoint"]]
        return subprocess.Popen(["unshare", "--mount", "--pid", "--fork", "--kill-child", *command])

    def run(self, process: int, command: Sequence[str]) -> int:
        """Runs another command in the namespaces of `process`; its exit status."""
        enter = ["nsenter", f"--target={process}", "--mount", "--pid", "--root"]
        return subprocess.run([*enter, *self._enter, *command], stdout=sys.stderr, check=False).returncode

    def health_check(self) -> list[str]:
        """The image's health check as a command."""
        kind, *command = self.config["Healthcheck"]["Test"]
        return list(command) if kind == "CMD" else ["sh", "-c", *command]


def first_process(unshare: subprocess.Popen[bytes]) -> int | None:
    """The host's pid of the namespace's process 1; None before there is one."""
    children = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children").read_text().split()
    return int(children[0]) if children else None


def picture(port: int) -> bytes:
    """Generates an image over HTTP."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/generate",
        data=json.dumps({"prompt": PROMPT, "seed": 1, "response_format": "binary"}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=READY_WITHIN_S) as answer:
        return bytes(answer.read())


def status_of(pid: int) -> dict[str, str]:
    """A process's fields in /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":", 1) for line in lines)


def namespace_pids(pid: int) -> list[int]:
    """A process's pids, from the host's to that in its own namespace."""
    return [int(number) for number in status_of(pid)["NSpid"].split()]


def capabilities(pid: int) -> int:
    """Bit mask of the capabilities that a process or its children can ever have."""
    values = status_of(pid)
    return int(values["CapBnd"], 16) | int(values["CapPrm"], 16)


def writable(pid: int) -> list[str]:
    """Mount points of file systems that a process can write to, without /proc and /dev."""
    mounts = (line.split() for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines())
    found = {fields[4] for fields in mounts if "ro" not in fields[5].split(",")}
    return sorted(point for point in found if not point.startswith(("/proc", "/dev")))


def try_image(root: Path, config: Mapping[str, Any]) -> dict[str, object]:
    """Starts the image, generates an image and stops it.

    Raises:
        RuntimeError: it did not behave as expected.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    # The network is the host's, so the server must not listen on every address as it does in a container.
    image = Image(root, config, {"FLASHU_HOST": "127.0.0.1", "FLASHU_PORT": str(port)})
    with tempfile.TemporaryDirectory() as cache:
        began = time.monotonic()
        server = image.start(Path(cache))
        try:
            while (process := first_process(server)) is None or image.run(process, image.health_check()) != 0:
                if server.poll() is not None or time.monotonic() - began > READY_WITHIN_S:
                    raise RuntimeError(f"the container is not ready after {READY_WITHIN_S} s, or exited")
                time.sleep(0.5)
            ready_s = time.monotonic() - began
            png = picture(port)
            if not png.startswith(b"\x89PNG"):
                raise RuntimeError(f"/v1/generate responded with {png[:16]!r}, which is not a PNG")
            seen = {
                "first": namespace_pids(process)[-1] == 1,
                "command": Path(f"/proc/{process}/cmdline").read_text().split("\0")[:-1],
                "capabilities": capabilities(process),
                "writable": writable(process),
                "user": Path(f"/proc/{process}").stat().st_uid,
                "cache": sorted(path.name for path in Path(cache).iterdir()),
            }
            os.kill(process, signal.SIGTERM)  # what `docker stop` sends
            began = time.monotonic()
            status = server.wait(STOPPED_WITHIN_S)
            stopped_s = time.monotonic() - began
        finally:
            server.kill()
            server.wait()
    if status != 0:
        raise RuntimeError(f"after SIGTERM the container exited with {status}, not 0")
    return {"ready_s": round(ready_s, 1), "picture_bytes": len(png), "stopped_s": round(stopped_s, 1), **seen}


def main() -> int:
    root, config = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())["Docker"]["config"]
    try:
        print(json.dumps(try_image(root, config)))
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        print(f"{shlex.join(sys.argv)}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
