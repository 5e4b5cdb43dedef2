"""`flashu bench serve` and `flashu bench capacity`: load on a running server. The exit status is 1 if an objective is
missed or no request completes, 2 if the options are invalid or the server is not ready. The engine's command line finds
it as an entry point."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from flashu_core.analysis.charts import new_figure
from flashu_core.machine import describe_machine
from flashu_core.reasons import reason_of
from load_tests.bench import record
from load_tests.bench.arrivals import Spacing
from load_tests.bench.capacity_search import Found, Probe, Search, seconds_needed
from load_tests.bench.chart import plot, plot_search
from load_tests.bench.client import Client, Message
from load_tests.bench.driver import Driver
from load_tests.bench.hashes import Replay, Results, check_requests, write_or_compare
from load_tests.bench.serving import PHASE, Offer, Served, offer_load, summarise_serving, warnings
from load_tests.bench.serving_report import show_hashes, show_search, show_serving
from load_tests.bench.slo import Objective, parse_slo
from load_tests.bench.workload import Wishes, Workload, parse_mix

_API_KEY = "LOAD_TESTS_API_KEY"  # not FLASHU_*: those are the server's settings, and unknown ones are errors
_RESULTS = Path("benchmarks/results")
_WIDTH = 160  # of tables when the output is not a terminal

bench = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help="Load-test a running server.")

BaseUrl = Annotated[str, typer.Option(help="URL of the server.")]
ApiKey = Annotated[str | None, typer.Option(envvar=_API_KEY, show_envvar=True, help="Sent as a bearer token.")]
Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds until the client abandons a request.")]
Mix = Annotated[str, typer.Option(help="Shares of the tasks, by count.")]
Slo = Annotated[
    str,
    typer.Option(
        help="Objectives TASK:pPERCENT=SECONDS, separated by commas; TASK:first_p99=... for a stream's first event."
    ),
]
Seed = Annotated[int, typer.Option(help="Equal seeds give equal requests at equal times.")]
Arrivals = Annotated[Spacing, typer.Option(help="Spacing of the arrivals.")]
Warmup = Annotated[float, typer.Option(min=0.0, help="Seconds of the same load before counting starts.")]
Prompts = Annotated[
    Path | None, typer.Option(help="File with one prompt per line; by default prompts of the embedded model's world.")
]
Images = Annotated[Path | None, typer.Option(help="Folder of images for understanding; rendered scenes by default.")]
Questions = Annotated[Path | None, typer.Option(help="File with one question per line, for any image.")]
Steps = Annotated[int | None, typer.Option(help="Of generation requests; the server's default if not given.")]
Size = Annotated[str | None, typer.Option(help="WIDTHxHEIGHT of images.")]
Tokens = Annotated[int, typer.Option(help="Of an answer.")]
Acceleration = Annotated[str | None, typer.Option(help="Name of a policy; the server's default if not given.")]
Stream = Annotated[bool, typer.Option("--stream", help="Request server-sent events and time the first one.")]
Save = Annotated[str | None, typer.Option(help=f"NAME: short for --output {_RESULTS}/NAME.json.")]
Output = Annotated[Path | None, typer.Option(help="Write figures as JSON, and a plot as .png beside it.")]


@bench.command()
def serve(
    *,
    base_url: BaseUrl = "http://127.0.0.1:8000",
    request_rate: Annotated[float, typer.Option(help="Requests per second.")] = 1.0,
    duration: Annotated[float, typer.Option(help="Counted seconds.")] = 60.0,
    mix: Mix = "generate=0.3,vqa=0.7",
    slo: Slo = "",
    seed: Seed = 0,
    arrivals: Arrivals = "poisson",
    warmup: Warmup = 5.0,
    concurrency_limit: Annotated[
        int | None,
        typer.Option(min=1, help="Maximum concurrent requests; others wait in the client, which counts as latency."),
    ] = None,
    timeout: Timeout = 60.0,
    api_key: ApiKey = None,
    prompts: Prompts = None,
    images: Images = None,
    questions: Questions = None,
    num_inference_steps: Steps = None,
    size: Size = None,
    max_new_tokens: Tokens = 16,
    acceleration: Acceleration = None,
    stream: Stream = False,
    replay: Annotated[Replay, typer.Option(help="alone sends the same requests one at a time, ignoring the rate.")] = (
        "arrivals"
    ),
    hashes: Annotated[
        Path | None, typer.Option(help="Write hashes of all results to this file, or compare with it if it exists.")
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(help="Keep images in this folder, so that a later run can measure differences.")
    ] = None,
    records: Annotated[Path | None, typer.Option(help="Write every request's record, as PATH.jsonl.gz.")] = None,
    save: Save = None,
    output: Output = None,
) -> None:
    """Send requests at a fixed rate (open loop) and report latencies and objectives."""
    with _explained():
        objectives = _objectives(slo, parse_mix(mix), stream=stream)
        offer = Offer(rate=request_rate, seconds=duration, mix=parse_mix(mix), warmup=warmup, spacing=arrivals)
        wishes = Wishes(
            acceleration=acceleration,
            num_inference_steps=num_inference_steps,
            size=size,
            max_new_tokens=max_new_tokens,
            stream=stream,
        )
        workload = Workload(seed, wishes, prompts=prompts, images=images, questions=questions)
        client = Client(base_url, api_key=api_key, timeout_s=timeout)
        place = _place(save, output)
        if keep is not None and hashes is None:
            raise ValueError("--keep needs --hashes: it keeps the images that the hashes are of")
        about = {"seed": seed, **asdict(wishes), **_names(prompts=prompts, images=images, questions=questions)}
        if hashes is not None and hashes.exists():
            check_requests(hashes, workload.message, about, folder=keep)
        _make_folders(hashes, records)
    results = Results()
    driver = Driver(client, workload, seed, limit=concurrency_limit, keep=results.keep if hashes else None)
    console = Console(stderr=True)
    what = "one at a time" if replay == "alone" else f"{request_rate:g} requests per second for {warmup + duration:g} s"
    console.print(f"{base_url}: {what}")
    models, served = asyncio.run(_serve(driver, offer, objectives, replay))
    summary = summarise_serving(served, objectives)
    shown = Console(width=None if sys.stdout.isatty() else _WIDTH)
    if records is not None:
        record.write(served.records, records)
    compared = None
    if hashes is not None:
        compared = write_or_compare(hashes, results, replay=replay, settings=about, folder=keep)
    settings = {
        "base_url": base_url,
        "request_rate": request_rate,
        "duration": duration,
        "mix": mix,
        "slo": slo,
        "arrivals": arrivals,
        "warmup": warmup,
        "concurrency_limit": concurrency_limit,
        "timeout": timeout,
        "replay": replay,
        **about,
    }
    beware = warnings(summary)
    if place is not None:
        found = {**summary, "warnings": beware, "hashes": None if compared is None else compared.to_json()}
        _write(place, {"settings": settings, "models": models, **found})
        plot(served.records, {PHASE: served.window}, place.with_suffix(".png"), objectives)
    show_serving(summary, beware, shown)
    if compared is not None:
        show_hashes(compared, shown)
    _print_location(place, shown)
    failed = not summary["met"] or not summary["completed"] or (compared is not None and compared.failed)
    raise typer.Exit(int(failed))


@bench.command()
def capacity(
    *,
    slo: Slo,
    base_url: BaseUrl = "http://127.0.0.1:8000",
    start: Annotated[float, typer.Option(help="First rate, in requests per second.")] = 1.0,
    lowest: Annotated[float, typer.Option(help="Lowest rate to try.")] = 0.01,
    highest: Annotated[float, typer.Option(help="Highest rate to try.")] = 10_000.0,
    precision: Annotated[float, typer.Option(help="Relative precision of the capacity.")] = 0.1,
    probes: Annotated[int, typer.Option(help="Maximum number of probes.")] = 16,
    duration: Annotated[
        float, typer.Option(help="Minimum seconds of a probe; longer if a percentile needs more requests.")
    ] = 30.0,
    mix: Mix = "generate=0.3,vqa=0.7",
    seed: Seed = 0,
    arrivals: Arrivals = "poisson",
    warmup: Warmup = 5.0,
    timeout: Timeout = 60.0,
    api_key: ApiKey = None,
    prompts: Prompts = None,
    images: Images = None,
    questions: Questions = None,
    num_inference_steps: Steps = None,
    size: Size = None,
    max_new_tokens: Tokens = 16,
    acceleration: Acceleration = None,
    stream: Stream = False,
    save: Save = None,
    output: Output = None,
) -> None:
    """Find the highest rate at which the objectives are met."""
    with _explained():
        shares = parse_mix(mix)
        objectives = _objectives(slo, shares, stream=stream)
        if not objectives:
            raise ValueError("--slo is empty; give objectives, such as vqa:p99=0.5,generate:p95=3")
        search = Search(start=start, lowest=lowest, highest=highest, precision=precision, maximum=probes)
        wishes = Wishes(
            acceleration=acceleration,
            num_inference_steps=num_inference_steps,
            size=size,
            max_new_tokens=max_new_tokens,
            stream=stream,
        )
        workload = Workload(seed, wishes, prompts=prompts, images=images, questions=questions)
        client = Client(base_url, api_key=api_key, timeout_s=timeout)
        place = _place(save, output)
        Offer(rate=lowest, seconds=max(duration, seconds_needed(lowest, shares, objectives)), mix=shares)
    console = Console(stderr=True)
    driver = Driver(client, workload, seed)

    async def probe(rate: float) -> Probe:
        seconds = max(duration, seconds_needed(rate, shares, objectives))
        offer = Offer(rate=rate, seconds=seconds, mix=shares, warmup=warmup, spacing=arrivals)
        console.print(f"  {rate:.3g} requests per second for {warmup + seconds:.1f} s: ", end="")
        served = await offer_load(driver, offer, objectives, until_certain=True)
        summary = summarise_serving(served, objectives)
        console.print("met" if summary["met"] else "missed")
        return Probe(rate=rate, met=summary["met"], summary={**summary, "warnings": warnings(summary)})

    async def find() -> tuple[Any, Found]:
        models = await _check_ready(client)
        return models, await search.run(probe)

    console.print(f"{base_url}: the highest rate that meets {slo}")
    models, found = asyncio.run(find())
    shown = Console(width=None if sys.stdout.isatty() else _WIDTH)
    if place is not None:
        settings = {"base_url": base_url, "slo": slo, **asdict(search), "duration": duration, "mix": mix}
        settings |= {"arrivals": arrivals, "warmup": warmup, "timeout": timeout, "seed": seed, **asdict(wishes)}
        settings |= _names(prompts=prompts, images=images, questions=questions)
        _write(place, {"settings": settings, "models": models, **found.to_json()})
        plot_search(found, place.with_suffix(".png"))
    show_search(found, shown)
    _print_location(place, shown)
    raise typer.Exit(int(found.capacity is None))


async def _serve(driver: Driver, offer: Offer, objectives: Sequence[Objective], replay: Replay) -> tuple[Any, Served]:
    models = await _check_ready(driver.client)
    return models, await offer_load(driver, offer, objectives, replay=replay)


async def _check_ready(client: Client) -> Any:
    """The server's /v1/models; None if it is not available.

    Raises:
        typer.Exit: the server is not ready; the reason is printed.
    """
    reply = await client.exchange(Message(method="GET", path="/readyz"))
    if reply.status != 200:
        said = reply.error or reply.body.decode(errors="replace")[:200]
        Console(stderr=True).print(f"the server is not ready: status {reply.status}, {said}", markup=False)
        raise typer.Exit(2)
    reply = await client.exchange(Message(method="GET", path="/v1/models"))
    try:
        return json.loads(reply.body) if reply.status == 200 else None
    except ValueError:
        return None


def _objectives(slo: str, mix: Mapping[Any, float], *, stream: bool) -> tuple[Objective, ...]:
    objectives = parse_slo(slo)
    for one in objectives:
        if one.task not in mix:
            raise ValueError(f"{one.name}: the mix has no requests of this task; give it a share in --mix")
        if one.measure == "first" and not stream:
            raise ValueError(f"{one.name} needs a stream; add --stream")
    return objectives


def _place(save: str | None, output: Path | None) -> Path | None:
    """The output path; errors with it show before the load, not after."""
    if save is not None and output is not None:
        raise ValueError("--save and --output are both given; use one of them")
    if save is not None and Path(save).name != save:
        raise ValueError(
            f"{save!r} is not the name of a result; give a plain file name without its ending, or use --output"
        )
    place = output if save is None else _RESULTS / f"{save}.json"
    if place is not None:
        if place.suffix == ".png":
            raise ValueError(f"{place} is the name of the plot; use a name that ends with .json")
        new_figure(1, 1)
        _make_folders(place)
    return place


def _make_folders(*places: Path | None) -> None:
    for place in places:
        try:
            if place is not None:
                place.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"cannot create the folder of {place}: {reason_of(error)}") from None


def _names(**paths: Path | None) -> dict[str, str | None]:
    return {name: None if path is None else str(path) for name, path in paths.items()}


def _write(place: Path, content: Mapping[str, Any]) -> None:
    place.write_text(json.dumps({"format": 1, **content, "machine": describe_machine()}, indent=2) + "\n")


def _print_location(place: Path | None, console: Console) -> None:
    if place is not None:
        console.print(f"{place} and {place.with_suffix('.png').name}", soft_wrap=True)


@contextmanager
def _explained() -> Iterator[None]:
    """Reports a ValueError as an error of the command line."""
    try:
        yield
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
