"""The command line: draw, ask and convert from a terminal. Other packages add their own commands (`serve`, `eval`) as
entry points of the group `flashu.commands`, so this one imports neither a web framework nor a grader. What needs torch
is imported by the commands that do: `flashu serve` starts without it, and its front end stays without it."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table

from flashu_core.acceleration.plan import make_schedule
from flashu_core.acceleration.policies import POLICIES, find_policy, override
from flashu_core.cli.console import print_table
from flashu_core.config import MODELS, AttentionName, DtypeName, EngineConfig
from flashu_core.errors import CalibrationError, FlashUError, InvalidRequestError
from flashu_core.images.decode import read_picture
from flashu_core.reasons import reason_of
from flashu_core.streams import open_standard_streams
from flashu_core.threads import configure_threads, configure_waiting
from flashu_core.types import Event, GenerateRequest, Pixels, Progress, Text, UnderstandRequest

if TYPE_CHECKING:
    from flashu_core.engine.engine import Engine

_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help="Show-o2: draw pictures, ask about them.")

Model = Annotated[str | None, typer.Option(help="A folder or hub id; the embedded model by default.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
Dtype = Annotated[DtypeName, typer.Option(help="Type of the weights.")]
Attention = Annotated[AttentionName, typer.Option(help="Attention kernel.")]
Acceleration = Annotated[str, typer.Option(help="Policy.")]
Parameters = Annotated[
    list[str] | None, typer.Option("--set", help="NAME=VALUE: one parameter of the policy; may be repeated.")
]
Seed = Annotated[int | None, typer.Option(help="Same seed, same result.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one line of JSON instead of a table.")]


Threads = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Threads that compute on the CPU; by default OMP_NUM_THREADS, else all CPUs, fewer for a small model.",
    ),
]


def _load(model: str | None, config: EngineConfig, policy: str, threads: int | None) -> Engine:
    engine = _loaded(model, config, threads)
    if policy != "exact" and not engine.calibrated:
        with Console(stderr=True).status("calibrating, once for this checkpoint"):
            engine.prepare()
    return engine


def _loaded(model: str | None, config: EngineConfig, threads: int | None) -> Engine:
    chosen = configure_threads(threads)  # before torch is loaded
    from flashu_core.engine.engine import Engine

    console = Console(stderr=True)
    begun = time.monotonic()
    with console.status("loading"):
        engine = Engine.load(model, config)
    if engine.info.device == "cpu":
        chosen.fit(engine.info.parameters)
    seconds = time.monotonic() - begun
    info = engine.info
    millions = info.parameters / 1e6
    console.print(f"{info.name}: {millions:.1f} M parameters, {info.dtype} on {info.device}, loaded in {seconds:.1f} s")
    return engine


def _show_timings(timings: Mapping[str, float], schedule: Mapping[str, int]) -> None:
    table = Table("component", "ms", box=None)
    for name, value in timings.items():
        table.add_row(name, f"{value:.1f}")
    console = Console(stderr=True)
    print_table(console, table)
    console.print("  ".join(f"{name} {count}" for name, count in schedule.items()), soft_wrap=True)


@app.command()
def generate(
    prompt: Annotated[str, typer.Argument(help="What to draw.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG, JPEG or WebP, by its ending.")] = Path("out.png"),
    *,
    negative_prompt: Annotated[str, typer.Option(help="What to stay away from.")] = "",
    num_images: Annotated[
        int,
        typer.Option("--num-images", "-n", help="How many pictures; more than one get -1, -2, ... before the ending."),
    ] = 1,
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT, one of the model's sizes.")] = None,
    num_inference_steps: Annotated[int | None, typer.Option(help="Points of the time grid.")] = None,
    guidance_scale: Annotated[float | None, typer.Option(help="Guidance scale.")] = None,
    seed: Seed = None,
    acceleration: Acceleration = "flashu",
    parameter: Parameters = None,
    model: Model = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    attention: Attention = "sdpa",
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Draw a picture from a prompt."""
    paths = _outputs(output, num_images)
    width, height = _size(size)
    overrides = _overrides(parameter)
    override(find_policy(acceleration, POLICIES).generate, overrides)
    request = GenerateRequest(
        prompt=prompt,
        negative_prompt=negative_prompt,
        num_images=num_images,
        width=width,
        height=height,
        num_inference_steps=num_inference_steps,
        guidance_scale=guidance_scale,
        seed=seed,
        acceleration=acceleration,
        overrides=overrides,
    )
    engine = _load(model, EngineConfig(device=device, dtype=dtype, attention=attention), acceleration, threads)
    columns = (TextColumn("drawing"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bar = Bar(*columns, console=Console(stderr=True))
    task = bar.add_task("drawing", total=None)

    def show(event: Event) -> None:
        if isinstance(event, Progress):
            bar.start()  # once it is drawn at all
            bar.update(task, completed=event.step, total=event.of)

    try:
        result = engine.generate(request, show)
    finally:
        if bar.live.is_started:
            bar.stop()
    for path, image in zip(paths, result.images, strict=True):
        Image.fromarray(image).save(path, format=_FORMATS[path.suffix.lower()])
    if as_json:
        record = {"files": [str(path) for path in paths], "seeds": result.seeds, "timings_ms": dict(result.timings)}
        print(json.dumps({**record, "schedule": dict(result.schedule)}))
        return
    _show_timings(result.timings, result.schedule)
    for path, generated in zip(paths, result.seeds, strict=True):
        Console(stderr=True).print(f"{path} (seed {generated})", soft_wrap=True, markup=False)


@app.command()
def understand(
    image: Annotated[Path, typer.Argument(help="A picture file.")],
    question: Annotated[str, typer.Argument(help="What to ask about it.")],
    *,
    max_new_tokens: Annotated[int, typer.Option(help="Length of the answer at most.")] = 128,
    temperature: Annotated[float, typer.Option(help="0 always takes the likeliest token.")] = 0.0,
    top_p: Annotated[float, typer.Option(help="Share of probability that is drawn from.")] = 1.0,
    seed: Seed = None,
    acceleration: Acceleration = "flashu",
    parameter: Parameters = None,
    model: Model = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    attention: Attention = "sdpa",
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Ask a question about a picture."""
    overrides = _overrides(parameter)
    override(find_policy(acceleration, POLICIES).vqa, overrides)
    request = UnderstandRequest(
        question=question,
        image=_read_picture(image),
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        acceleration=acceleration,
        overrides=overrides,
    )
    engine = _load(model, EngineConfig(device=device, dtype=dtype, attention=attention), acceleration, threads)

    def show(event: Event) -> None:
        if isinstance(event, Text) and not as_json:
            print(event.text, end="", flush=True)

    result = engine.understand(request, show)
    if as_json:
        record = {"answer": result.answer, "finish_reason": result.finish_reason, "timings_ms": dict(result.timings)}
        print(json.dumps({**record, "schedule": dict(result.schedule)}))
        return
    print()
    _show_timings(result.timings, result.schedule)


@app.command()
def convert(
    source: Annotated[str, typer.Argument(help="A published checkpoint: a folder or hub id.")],
    destination: Annotated[Path, typer.Argument(help="A new folder.")],
    *,
    vae: Annotated[
        str | None, typer.Option(help="Wan2.1_VAE.pth or vae.safetensors; the one beside the checkpoint by default.")
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="Folder or hub id; that of the language model by default.")
    ] = None,
    language_model: Annotated[
        str | None, typer.Option(help="Folder or hub id; the one the checkpoint names by default.")
    ] = None,
    dtype: Dtype = "bfloat16",
) -> None:
    """Make this project's checkpoint folder of a published one."""
    from flashu_core.checkpoint.convert import convert as convert_checkpoint
    from flashu_core.checkpoint.load import choose_dtype

    convert_checkpoint(
        source,
        destination,
        vae=vae,
        tokenizer=tokenizer,
        language_model=language_model,
        dtype=choose_dtype(dtype, "cpu"),
    )
    Console(stderr=True).print(f"wrote {destination}", soft_wrap=True, markup=False)


@app.command()
def calibrate(
    model: Annotated[str | None, typer.Argument(help="A folder or hub id; the embedded model by default.")] = None,
    *,
    samples: Annotated[
        Path | None, typer.Option(help="Lines of JSON with image and question; by default about what is drawn.")
    ] = None,
    prompt: Annotated[
        list[str] | None, typer.Option(help="What to draw for generation; may be given several times.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="A file; beside the checkpoint by default.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the calibration that is beside the checkpoint.")] = (
        False
    ),
    device: Device = "auto",
    dtype: Dtype = "auto",
    threads: Threads = None,
) -> None:
    """Measure which FFN neurons matter to which task, and keep the result beside the checkpoint."""
    from flashu_core.acceleration.calibration import CALIBRATION_PROMPT
    from flashu_core.checkpoint.layouts import list_calibration
    from flashu_core.cli.samples import read_samples

    console = Console(stderr=True)
    config = EngineConfig(device=device, dtype=dtype, calibrated=False)
    requested = None if samples is None else read_samples(samples)
    engine = _loaded(model, config, threads)
    if output is None and not force:
        for path in engine.calibration_files:
            if path.exists():
                raise CalibrationError(
                    f"{path} is there already; replace it with --force, or name a file with --output"
                )
    begun = time.monotonic()
    with console.status("calibrating"):
        found = engine.calibrate(prompt or (CALIBRATION_PROMPT,), requested)
    places = engine.calibration_files if output is None else [output]
    place = found.keep(places)
    if place is None:
        raise CalibrationError(f"none of {', '.join(map(str, places))} can be written; give one with --output")
    if output is None:
        list_calibration(place)
    seconds = time.monotonic() - begun
    console.print(f"measured in {seconds:.1f} s, kept in {place}", soft_wrap=True, markup=False)


@app.command()
def plan(
    *,
    acceleration: Acceleration = "flashu",
    num_inference_steps: Annotated[
        int | None, typer.Option(help="Points of the time grid; the policy's share of 50.")
    ] = None,
    guidance_scale: Annotated[float, typer.Option(help="Guidance scale.")] = 5.0,
    size: Annotated[str, typer.Option(help=f"Whose costs to predict: {', '.join(sorted(MODELS))}.")] = "1.5b",
    prompt_tokens: Annotated[int, typer.Option(help="Tokens of the prompt, with the two around it.")] = 64,
    parameter: Parameters = None,
    as_json: AsJson = False,
) -> None:
    """Print the schedule of a picture: what each denoising step runs, and its predicted arithmetic."""
    from flashu_core.acceleration.flops import describe

    if size not in MODELS:
        raise InvalidRequestError(f"size is {size!r}; use one of: {', '.join(sorted(MODELS))}", parameter="size")
    chosen = override(find_policy(acceleration, POLICIES).generate, _overrides(parameter))
    config = MODELS[size]
    num_inference_steps = num_inference_steps or max(round(config.num_inference_steps * chosen.points), 2)
    schedule = make_schedule(chosen.techniques, num_inference_steps=num_inference_steps, guidance_scale=guidance_scale)
    rows = describe(config, chosen, schedule, prompt_tokens=prompt_tokens)
    if as_json:
        print(json.dumps([asdict(row) for row in rows]))
        return
    table = Table("step", "guidance_scale", "backbone", "layers", "head", "TFLOP", box=None)
    for row in rows:
        table.add_row(
            str(row.index), f"{row.guidance_scale:g}", row.backbone, row.layers, row.head, f"{row.flops / 1e12:.3f}"
        )
    total = sum(row.flops for row in rows)
    print_table(Console(), table)
    passes = sum(row.backbone != "not needed" for row in rows)
    computed = sum(row.head == "computed" for row in rows)
    Console().print(
        f"{size}, num_inference_steps {num_inference_steps}: {len(rows)} denoising steps, {passes} backbone passes, "
        f"{computed} head passes, "
        f"{total / 1e12:.1f} TFLOP",
        soft_wrap=True,
    )


def _overrides(pairs: list[str] | None) -> dict[str, float]:
    found = {}
    for pair in pairs or ():
        name, _, value = pair.partition("=")
        try:
            found[name] = float(value)
        except ValueError:
            raise InvalidRequestError(f"--set {pair!r} is not NAME=NUMBER", parameter="acceleration") from None
    return found


def _size(text: str | None) -> tuple[int | None, int | None]:
    if text is None:
        return None, None
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise InvalidRequestError(f"size is {text!r}; write WIDTHxHEIGHT, such as 432x432", parameter="size")
    return int(width), int(height)


def _read_picture(path: Path) -> Pixels:
    try:
        return read_picture(path)
    except (OSError, ValueError) as error:
        raise InvalidRequestError(
            f"{path} cannot be read as a picture: {reason_of(error)}", parameter="image"
        ) from error


def _outputs(output: Path, count: int) -> list[Path]:
    """Where so many pictures go; what keeps them from it shows before anything is loaded."""
    if output.suffix.lower() not in _FORMATS:
        known = ", ".join(_FORMATS)
        raise InvalidRequestError(f"output ends with {output.suffix!r}; PNG, JPEG and WebP end with one of {known}")
    if not output.parent.is_dir():
        raise InvalidRequestError(f"there is no folder {output.parent} for the output; make it first")
    paths = [output if count == 1 else output.with_stem(f"{output.stem}-{index + 1}") for index in range(count)]
    for path in paths:
        if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
            raise InvalidRequestError(f"output {path} cannot be written; name another file")
    return paths


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"flashu {version('flashu-server')}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Runs the command line; errors of ours are clean lines and exit status 2."""
    open_standard_streams()
    configure_waiting()  # before torch is loaded: some commands of other packages load torch as they are found
    called = next((word for word in sys.argv[1:] if not word.startswith("-")), None)
    own = {command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands}
    if called not in own:
        for command in entry_points(group="flashu.commands"):
            if called is None or command.name == called:
                found = command.load()
                if isinstance(found, typer.Typer):  # a group of commands
                    app.add_typer(found, name=command.name)
                else:
                    app.command(command.name)(found)
    try:
        app()
    except FlashUError as error:
        print(f"flashu: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.filename is None:  # not about a file that was named
            raise
        print(f"flashu: {error.filename}: {reason_of(error)}", file=sys.stderr)
        sys.exit(2)
