"""Runs the application on a Ray cluster of this machine alone, on 127.0.0.1 where Ray allows it. Ends on SIGTERM or
SIGINT and cleans up; SIGHUP reloads the config and replaces replicas one by one.

    python deploy/ray/local.py deploy/ray/local.yaml
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
import yaml

# Set before Ray is imported, for every process that it starts. A cluster of one machine needs no tokens.
os.environ["RAY_AUTH_MODE"] = "disabled"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
_HERE = Path(__file__).parent
sys.path.insert(0, str(_HERE))

_OBJECT_STORE_BYTES = 80 * 2**20  # about Ray's minimum; requests do not go through it


def main(
    config: Annotated[Path, typer.Argument(help="A Serve config; its first application's args are read.")],
    *,
    port: Annotated[int, typer.Option(help="Port of the routes.")] = 8000,
) -> None:
    """Serve a config on this machine."""
    import ray
    from flashu_serve import Options, application
    from ray import serve

    signals: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _: signals.put(received))

    def read() -> Options:
        return Options(**yaml.safe_load(config.read_text())["applications"][0]["args"])

    options = read()
    paths = [str(_HERE), str(_HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as folder:  # sockets need a short path
        ray.init(
            num_cpus=int(options.cpus * options.max_replicas) + 2,
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            _temp_dir=folder,
            _node_ip_address="127.0.0.1",
            runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, paths))}},
            log_to_driver=False,
        )
        try:
            serve.start(http_options={"host": "127.0.0.1", "port": port})
            deployed = 0
            while True:
                serve.run(application(options), name="flashu", route_prefix="/")
                deployed += 1
                print(f"ready on http://127.0.0.1:{port}, deployed {deployed}", flush=True)
                if signals.get() != signal.SIGHUP:
                    break
                options = read()
        finally:
            serve.shutdown()
            ray.shutdown()


if __name__ == "__main__":
    typer.run(main)
