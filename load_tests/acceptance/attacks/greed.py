"""Keys that exceed their share: ten times their request limit, and work that runs in parallel, times out or is
abandoned, so that it is not counted yet when the next request is admitted."""

from __future__ import annotations

from collections.abc import Sequence

from load_tests.acceptance.attacks.rig import Rig
from load_tests.acceptance.quotas import GREEDY_RATE, parallel_work, share, two_keys
from load_tests.acceptance.target import Target

_PER_KEY_S = 3.0  # questions per second
_QUOTA_S = 15.0
_SUCCESS = 0.99
_WORK = 500  # denoising steps and tokens per hour
_TOLERATED = 1.1


async def run(rig: Rig) -> Sequence[Target]:
    keys = two_keys()
    with rig.server(api_keys=_listed(keys), rate_limit=f"{_PER_KEY_S:g}/second") as server:
        found = [await _share(server.base_url, keys, rig.seed)]
    with rig.server(api_keys=_listed(keys), work_limit=f"{_WORK}/hour") as server:
        found.append(await _work(server.base_url, keys["greedy"]))
    return found


async def _share(base_url: str, keys: dict[str, str], seed: int) -> Target:
    found = await share(base_url, keys, per_s=_PER_KEY_S, seconds=_QUOTA_S, seed=seed)
    return Target(
        name=f"success beside a key that sends {GREEDY_RATE:g} times its share",
        unit="",
        limit=_SUCCESS,
        at_least=True,
        measured=found.success,
        note=f"{found.modest.total()} sent; of the other's {found.greedy.total()}, {found.greedy[429]} were refused",
    )


async def _work(base_url: str, key: str) -> Target:
    found = await parallel_work(base_url, key)
    return Target(
        name=f"denoising steps run for a key limited to {_WORK}",
        unit="",
        limit=_WORK * _TOLERATED,
        measured=found.steps,
        note="; ".join(f"{status}, {count} times" for status, count in found.statuses.items()),
    )


def _listed(keys: dict[str, str]) -> str:
    return ",".join(f"{name}:{key}" for name, key in keys.items())
