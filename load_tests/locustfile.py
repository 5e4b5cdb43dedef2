"""The bench's requests for locust: `locust -f load_tests/locustfile.py --host http://127.0.0.1:8000`.

Locust is a closed loop: each user waits for a response before it sends again, so a slow server receives less load and
overload stays hidden; `flashu bench serve` is the open loop. Importing locust replaces Python's sockets and threads
with gevent's, so nothing else imports this module.
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
    """Options of the requests; users and duration are locust's own options."""
    group = parser.add_argument_group("FlashU")
    group.add_argument("--mix", default="generate=0.3,vqa=0.7", help="shares of the tasks, by count")
    group.add_argument("--workload-seed", type=int, default=0, help="equal seeds give equal requests")
    group.add_argument("--acceleration", default=None, help="name of a policy; the server's default if not given")
    group.add_argument(
        "--num-inference-steps",
        type=int,
        default=None,
        help="of generation requests; the server's default if not given",
    )


class Mixed(FastHttpUser):
    """A user that sends about one request per second."""

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
        """Sends one request; locust counts every status from 400 on as a failure, refusals included."""
        message = self._workload.next(self._rng.choices(self._tasks, self._shares)[0])
        self.client.post(message.path, data=message.body, headers=self._headers, name=message.path)


@functools.cache
def _workload(seed: int, acceleration: str | None, num_inference_steps: int | None) -> Workload:
    """One workload for all users of a process, so that no two send the same request."""
    return Workload(seed, Wishes(acceleration=acceleration, num_inference_steps=num_inference_steps))
