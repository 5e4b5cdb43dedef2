"""Measures a checkpoint on the land, or its fidelity on any prompts, beside the exact model with fewer points.

It sees the engine's public face only, and prompts, questions and scenes of grading seeds, which training never draws.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console

from flashu_core import Engine, EngineConfig, GenerateResult, Request, UnderstandResult
from flashu_core.cli.console import print_table
from flashu_core.machine import describe_machine
from flashu_core.threads import configure_threads
from shapes.distances import Features
from shapes.fidelity import fidelity
from shapes.land.captions import caption
from shapes.land.measures import answer_grades, distances, features, picture_grades, plain_fidelity
from shapes.land.prompts import Prompt, grading_prompts, grading_questions
from shapes.land.questions import Question
from shapes.land.record import table, write
from shapes.land.requests import answers_about, pictures_of
from shapes.land.scenes import any_scene, painted
from shapes.land.things import Scene
from shapes.latency import ANSWERS, PICTURES, alone
from shapes.running import run_all
from shapes.seeds import source
from shapes.studies import CONTROLS, EXACT, Study, Variant, variants
from shapes.training.report import sheet

GRADING_SEED = 1
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sets:
    """What variants are measured on; what is empty is not measured.

    Attributes:
        texts: what is drawn to compare with the exact model.
        prompts: the same, with what a picture of each must show.
        asked: questions, each on a scene.
        captions: what is drawn to compare as a whole.
        true: features of the pictures that these captions are of.
    """

    texts: Sequence[str]
    prompts: Sequence[Prompt] = ()
    asked: Sequence[tuple[Scene, Question]] = ()
    captions: Sequence[str] = ()
    true: Features | None = None


def evaluate(
    model: Annotated[str | None, typer.Option(help="A folder or hub id; the embedded model by default.")] = None,
    *,
    policies: Annotated[str, typer.Option(help="Names, separated by commas.")] = "exact,flashu",
    study: Annotated[
        Study, typer.Option(help="Also measure the variants of an ablation or of parameter sweeps.")
    ] = "none",
    controls: Annotated[bool, typer.Option(help="Also measure the exact model with fewer points.")] = True,
    fidelity_only: Annotated[
        bool,
        typer.Option("--fidelity", help="Only compare pictures with those of the exact model: of any checkpoint."),
    ] = False,
    prompts: Annotated[int, typer.Option(help="Prompts to draw.")] = 600,
    prompt_file: Annotated[
        Path | None, typer.Option(help="For --fidelity: prompts to draw instead, one on each line.")
    ] = None,
    questions: Annotated[int, typer.Option(help="Questions to ask.")] = 1500,
    distance_pictures: Annotated[
        int, typer.Option(help="Captions drawn for the Fréchet and kernel distances; 0 for none.")
    ] = 2000,
    seed: Annotated[
        int, typer.Option(help="Of prompts and questions; settings are chosen on others than 1.")
    ] = GRADING_SEED,
    batch: Annotated[int, typer.Option(help="Requests that advance together.")] = 16,
    output: Annotated[Path | None, typer.Option(help="A JSON file for the figures.")] = None,
    pictures: Annotated[Path | None, typer.Option(help="A PNG sheet of the first pictures of each variant.")] = None,
    retime: Annotated[
        bool, typer.Option(help="Only measure the times in --output anew: of the same variants, on an idle machine.")
    ] = False,
) -> None:
    """Measure policies of a model: fidelity, grades, answers, distances."""
    configure_threads()
    if prompt_file is not None and not fidelity_only:
        raise typer.BadParameter("--prompt-file goes with --fidelity: other measures know what their prompts ask for")
    engine = Engine.load(model, EngineConfig(max_batch=batch))
    engine.prepare()
    if fidelity_only:
        texts = (
            _lines(prompt_file) if prompt_file is not None else [each.text for each in grading_prompts(prompts, seed)]
        )
        sets = Sets(texts=texts)
    else:
        wanted, described = grading_prompts(prompts, seed), captioned(distance_pictures, seed)
        pixels = engine.info.sizes[0][0]
        sets = Sets(
            texts=[each.text for each in wanted],
            prompts=wanted,
            asked=grading_questions(questions, seed),
            captions=[text for _, text in described],
            true=features([painted(scene, pixels) for scene, _ in described]) if described else None,
        )
    chosen = [EXACT, *(variant for variant in variants(policies.split(","), study) if variant != EXACT)]
    if retime:
        if output is None:
            raise typer.BadParameter("--retime needs the --output of an earlier run")
        retimed(engine, chosen, output)
        return
    measured: dict[str, dict[str, Any]] = {}
    exact: list[GenerateResult] = []
    for variant in (*chosen, *(CONTROLS if controls else ())):
        begun = time.monotonic()
        drawn = run(engine, pictures_of(sets.texts, variant), GenerateResult, variant.name)
        exact = exact or drawn
        measured[variant.name] = {
            "gigaflops": gigaflops(engine, variant),
            "fidelity": plain_fidelity(fidelity(drawn, exact)),
            **measure(engine, variant, sets, [each.images[0] for each in drawn]),
            "seconds": round(time.monotonic() - begun, 1),
        }
        if pictures is not None:
            name = variant.name.replace(", ", "-").replace(" ", "-")
            path = pictures.with_stem(f"{pictures.stem}-{name}")
            sheet([each.images[0] for each in drawn[:36]], sets.texts[:36], path)
        if output is not None:
            write(output, engine, measured, seed=seed, prompts=len(sets.texts))
    for name, times in times_alone(engine, chosen, seed).items():
        measured[name]["alone"] = times
    if output is not None:
        write(output, engine, measured, seed=seed, prompts=len(sets.texts))
    print_table(Console(stderr=True), table(measured))
    print(json.dumps(measured))


def measure(engine: Engine, variant: Variant, sets: Sets, images: Sequence[NDArray[np.uint8]]) -> dict[str, Any]:
    """What the sets allow to measure of a variant, whose pictures of `sets.texts` are `images`."""
    own: dict[str, Any] = {}
    pixels = engine.info.sizes[0][0]
    if sets.prompts:
        own["pictures"] = picture_grades(sets.prompts, images)
    if sets.asked and variant not in CONTROLS:  # points do not change an answer
        answers = run(engine, answers_about(sets.asked, variant, pixels=pixels), UnderstandResult, variant.name)
        own["answers"] = answer_grades(sets.asked, [each.answer for each in answers])
    if sets.true is not None:
        drawn = run(engine, pictures_of(sets.captions, variant), GenerateResult, variant.name)
        own["distances"] = distances([each.images[0] for each in drawn], sets.true)
    return own


def times_alone(engine: Engine, chosen: Sequence[Variant], seed: int) -> dict[str, dict[str, float]]:
    """Milliseconds of a picture and of a whole-sentence answer by the variants' names."""
    texts = _texts(grading_prompts(PICTURES + 1, seed))
    asked = grading_questions(ANSWERS + 1, seed, kinds=("describe",))
    pixels = engine.info.sizes[0][0]
    return alone(
        engine,
        {each.name: pictures_of(texts, each) for each in chosen},
        {each.name: answers_about(asked, each, pixels=pixels) for each in chosen},
    )


def retimed(engine: Engine, chosen: Sequence[Variant], output: Path) -> None:
    """Measures the times in an earlier record anew; all else stays.

    Raises:
        typer.BadParameter: it is of another checkpoint, or has none of a variant.
    """
    record = json.loads(output.read_text())
    names = [variant.name for variant in chosen]
    if record["digest"] != engine.info.details["digest"] or not set(names) <= set(record["policies"]):
        raise typer.BadParameter(f"{output} is not of this checkpoint and of the variants {', '.join(names)}")
    for name, times in times_alone(engine, chosen, record["seed"]).items():
        record["policies"][name]["alone"] = times
    record["timed_on"] = describe_machine()
    output.write_text(json.dumps(record, indent=1) + "\n")


def captioned(count: int, seed: int) -> list[tuple[Scene, str]]:
    """Scenes of the mix with a caption each, the same each time."""
    rng = source("land-distances", seed)
    scenes = [any_scene(rng) for _ in range(count)]
    return [(scene, caption(scene, rng)) for scene in scenes]


def run(engine: Engine, requests: Sequence[Request], kind: type[R], description: str) -> list[R]:
    """The results of requests, in their order."""
    results = dict(run_all(engine, requests, description))
    return [each for index in range(len(requests)) if isinstance(each := results[index], kind)]


def gigaflops(engine: Engine, variant: Variant) -> float:
    """What a picture of a short prompt costs."""
    (sample,) = pictures_of(["a red boat on the sea"], variant)
    return round(engine.forecast(sample) / 1e9, 3)


def _texts(prompts: Sequence[Prompt]) -> list[str]:
    return [prompt.text for prompt in prompts]


def _lines(path: Path) -> list[str]:
    lines = [line.strip() for line in path.read_text().splitlines() if line.strip()]
    if not lines:
        raise typer.BadParameter(f"{path} has no prompts; write one on each line")
    return lines
