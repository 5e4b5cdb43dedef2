"""Records what the playground opens with: `python -m benchmarks.record_showcase`.

One prompt is drawn by `exact` and by `flashu` on a server with the embedded model; the pictures, the schedules and the
median times of several runs go to `server/ui/showcase.json`, with the machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import httpx

from benchmarks.screenshots import serving
from flashu_core.machine import describe_machine

FILE = Path(__file__).parents[1] / "server" / "ui" / "showcase.json"
RUNS = 5
PROMPT, SEED = "a large red circle left of a small blue square", 11


def record(client: httpx.Client, policy: str, *, prompt: str, seed: int) -> dict[str, Any]:
    """The picture and the schedule of a policy, with the run of median time among several."""
    body = {"prompt": prompt, "seed": seed, "acceleration": policy}
    client.post("/v1/generate", json=body).raise_for_status()  # meets first-time costs
    answers = [client.post("/v1/generate", json=body).raise_for_status().json() for _ in range(RUNS)]
    middle = statistics.median_low(answer["timings_ms"]["total"] for answer in answers)
    chosen = next(answer for answer in answers if answer["timings_ms"]["total"] == middle)
    return {
        "policy": policy,
        "timings_ms": {name: round(value, 2) for name, value in chosen["timings_ms"].items()},
        "evaluations": chosen["evaluations"],  # a public field
        "image": chosen["images"][0]["b64_json"],
    }


def main() -> None:
    """Records both policies."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompt", default=PROMPT)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--output", type=Path, default=FILE)
    options = parser.parse_args()
    machine = describe_machine()
    with serving() as address, httpx.Client(base_url=address, timeout=300) as client:
        (model,) = client.get("/v1/models").json()["data"]
        recorded = {
            "prompt": options.prompt,
            "seed": options.seed,
            "model": model["id"],
            "processor": machine["processor"] if model["device"] == "cpu" else machine["gpu"],
            "date": machine["date"],
            "commit": machine["commit"],
            "runs": [
                record(client, policy, prompt=options.prompt, seed=options.seed) for policy in ("exact", "flashu")
            ],
        }
    options.output.write_text(json.dumps(recorded) + "\n")
    print(f"{options.output} {options.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
