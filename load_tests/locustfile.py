"""The same requests for locust: `locust -f load_tests/locustfile.py --host http://127.0.0.1:8000`. It knows locust and
the workload, and measures nothing by itself.

Locust is a closed loop: each of its users waits for an answer before it asks again, so a slow server is asked less, and
how it fares when it is asked too much stays hidden. `flashu bench serve` is the open loop for that. Importing locust
replaces Python's sockets and threads with gevent's, so nothing else imports this module.
"""

from __future__ import annotations

import functools
import os
import random
from typing import Any

from locust import FastHttpUser, between, events, task

from load_tests.bench.workload import Wishes, Workload, parse_mix

_API_KEY = "LOAD_TESTS_API_KEY"


@events.init_command_line_parser.add_listener
def add_options(parser: Any) -> None:
    """What requests ask for; locust's own options say how many users there are and for how long."""
    group = parser.add_argument_group("FlashU")
    group.add_argument("--mix", default="generate=0.3,vqa=0.7", help="shares of the tasks, by count")
    group.add_argument("--workload-seed", type=int, default=0, help="same seed, same row of requests")
    group.add_argument("--acceleration", default=None, help="policy; the server's default where none is named")
    group.add_argument("--num-inference-steps", type=int, default=None, help="points of a picture's time grid")


class Mixed(FastHttpUser):
    """One who draws or asks, a request about every second."""

    wait_time = between(0.5, 1.5)

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        options = environment.parsed_options
        mix = parse_mix(options.mix)
        self._tasks, self._shares = list(mix), list(mix.values())
        self._workload = _workload(options.workload_seed, options.acceleration, options.num_inference_steps)
        self._rng = random.Random(f"{options.workload_seed}/locust")
        key = os.environ.get(_API_KEY)
        self._headers = {"content-type": "application/json", **({"authorization": f"Bearer {key}"} if key else {})}

    @task
    def send(self) -> None:
        """One request; locust counts every status from 400 on as a failure, refusals included."""
        message = self._workload.next(self._rng.choices(self._tasks, self._shares)[0])
        self.client.post(message.path, data=message.body, headers=self._headers, name=message.path)


@functools.cache
def _workload(seed: int, acceleration: str | None, num_inference_steps: int | None) -> Workload:
    """One row for all users of a process, so that no two send the same."""
    return Workload(seed, Wishes(acceleration=acceleration, num_inference_steps=num_inference_steps))
