"""Grades a checkpoint on the world of scenes: pictures in the six categories of GenEval, answers by exact match.

It sees the engine's public face only, and scenes and prompts of grading seeds, which training never draws.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from flashu_core import (
    Engine,
    EngineConfig,
    GenerateRequest,
    GenerateResult,
    UnderstandResult,
)
from flashu_core.cli.console import print_table
from flashu_core.machine import describe_machine
from flashu_core.threads import configure_threads
from shapes.grading import judge
from shapes.land import evaluate as land
from shapes.latency import ANSWERS, PICTURES, alone
from shapes.prompts import Category, Prompt, grading_prompts, grading_questions
from shapes.questions import exact_match
from shapes.requests import askings, drawings
from shapes.running import run_all
from shapes.scores import Mean, Score, score, share
from shapes.studies import Study, Variant, variants
from shapes.training.report import sheet

GRADING_SEED = 1


def grade_pictures(
    engine: Engine,
    prompts: Sequence[Prompt],
    variant: Variant,
    *,
    guidance_scale: float | None = None,
    num_inference_steps: int | None = None,
) -> tuple[Score, list[tuple[Prompt, GenerateResult, bool]]]:
    """Draws each prompt once, its place in the list as its seed, and judges the pictures."""
    requests = drawings(prompts, variant, guidance_scale=guidance_scale, num_inference_steps=num_inference_steps)
    judged: list[tuple[Prompt, GenerateResult, bool]] = []
    for index, result in run_all(engine, requests, f"pictures {variant.name}"):
        if isinstance(result, GenerateResult):
            judged.append((prompts[index], result, judge(prompts[index], result.images[0])))
    return score((prompt.category, good) for prompt, _, good in judged), judged


def grade_answers(
    engine: Engine, count: int, variant: Variant, *, seed: int = GRADING_SEED
) -> tuple[Mean, dict[str, Mean]]:
    """Asks `count` questions about rendered scenes; the share answered exactly, in all and by kind of question."""
    asked = grading_questions(count, seed)
    requests = askings(asked, variant, pixels=engine.info.sizes[0][0])
    right: dict[str, list[bool]] = {}
    for index, result in run_all(engine, requests, f"answers {variant.name}"):
        question = asked[index][1]
        if isinstance(result, UnderstandResult):
            right.setdefault(question.kind, []).append(exact_match(result.answer, question.answer))
    kinds = {kind: share(values) for kind, values in sorted(right.items())}
    return share([value for values in right.values() for value in values]), kinds


def _plain(value: Mean) -> dict[str, float]:
    return {
        "mean": round(value.mean, 4),
        "low": round(value.low, 4),
        "high": round(value.high, 4),
        "count": value.count,
    }


def evaluate(
    model: Annotated[str | None, typer.Option(help="A folder or hub id; the embedded model by default.")] = None,
    *,
    policies: Annotated[str, typer.Option(help="Names, separated by commas.")] = "exact",
    study: Annotated[
        Study, typer.Option(help="Also grade the variants of an ablation or of parameter sweeps.")
    ] = "none",
    fidelity_only: Annotated[
        bool,
        typer.Option(
            "--fidelity",
            help="Only compare pictures with those of exact, beside exact with fewer points: of any checkpoint.",
        ),
    ] = False,
    prompt_file: Annotated[
        Path | None, typer.Option(help="For --fidelity: prompts to draw instead, one on each line.")
    ] = None,
    prompts: Annotated[int, typer.Option(help="Prompts to draw.")] = 300,
    questions: Annotated[int, typer.Option(help="Questions to ask.")] = 1000,
    guidance_scale: Annotated[float | None, typer.Option(help="Guidance scale; the model's own by default.")] = None,
    num_inference_steps: Annotated[
        int | None, typer.Option(help="Points of the time grid; the model's own by default.")
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Of prompts and questions; settings are chosen on others than 1.")
    ] = GRADING_SEED,
    batch: Annotated[int, typer.Option(help="Requests that advance together.")] = 16,
    output: Annotated[Path | None, typer.Option(help="A JSON file for the figures.")] = None,
    pictures: Annotated[Path | None, typer.Option(help="A PNG sheet of the first pictures.")] = None,
    retime: Annotated[
        bool, typer.Option(help="Only measure the times in --output anew: of the same variants, on an idle machine.")
    ] = False,
) -> None:
    """Grade a model on the world of scenes, or measure its fidelity."""
    if fidelity_only:
        land.evaluate(
            model,
            policies=policies,
            study=study,
            fidelity_only=True,
            prompts=prompts,
            prompt_file=prompt_file,
            seed=seed,
            batch=batch,
            output=output,
            pictures=pictures,
        )
        return
    configure_threads()
    engine = Engine.load(model, EngineConfig(max_batch=batch))
    engine.prepare()
    asked = grading_prompts(prompts, seed)
    record: dict[str, Any] = {
        "model": engine.info.name,
        "digest": engine.info.details["digest"],
        "machine": describe_machine(),
        "dtype": engine.info.dtype,
        "seed": seed,
        "points": num_inference_steps or engine.info.num_inference_steps,
        "guidance": engine.info.guidance_scale if guidance_scale is None else guidance_scale,
        "policies": {},
    }
    table = Table("policy", "overall", "answers", *_category_names(asked))
    chosen = variants(policies.split(","), study)
    if retime:
        if output is None:
            raise typer.BadParameter("--retime needs the --output of an earlier grading")
        _retime(engine, chosen, output)
        return
    for variant in chosen:
        begun = time.monotonic()
        drawn, judged = grade_pictures(
            engine, asked, variant, guidance_scale=guidance_scale, num_inference_steps=num_inference_steps
        )
        middle = time.monotonic()
        answered, kinds = grade_answers(engine, questions, variant, seed=seed)
        sample = GenerateRequest(
            prompt="a",
            acceleration=variant.policy,
            overrides=variant.of("generate"),
            num_inference_steps=num_inference_steps,
        )
        record["policies"][variant.name] = {
            "overall": _plain(drawn.overall),
            "categories": {name: _plain(value) for name, value in drawn.categories.items()},
            "answers": _plain(answered),
            "answers_by_kind": {name: _plain(value) for name, value in kinds.items()},
            "gigaflops": round(engine.forecast(sample) / 1e9, 3),
            "seconds": {"pictures": round(middle - begun, 1), "answers": round(time.monotonic() - middle, 1)},
        }
        means = [f"{drawn.categories[name].mean:.3f}" for name in _category_names(asked)]
        table.add_row(variant.name, f"{drawn.overall.mean:.3f}", f"{answered.mean:.3f}", *means)
        if pictures is not None:
            shown = judged[:: max(len(judged) // 36, 1)][:36]
            labels = [("+ " if good else "- ") + prompt.text for prompt, _, good in shown]
            sheet([result.images[0] for _, result, _ in shown], labels, pictures)
    for name, times in _alone(engine, chosen, seed=seed, num_inference_steps=num_inference_steps).items():
        record["policies"][name]["alone"] = times
    print_table(Console(stderr=True), table)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record["policies"]))


def _retime(engine: Engine, chosen: Sequence[Variant], output: Path) -> None:
    """Measures the times of an earlier grading anew; its grades stay.

    Raises:
        typer.BadParameter: it is of another checkpoint or of other variants.
    """
    record = json.loads(output.read_text())
    names = [variant.name for variant in chosen]
    if record["digest"] != engine.info.details["digest"] or list(record["policies"]) != names:
        raise typer.BadParameter(f"{output} is not of this checkpoint and of the variants {', '.join(names)}")
    times = _alone(
        engine,
        chosen,
        seed=record["seed"],
        num_inference_steps=_given(record["points"], engine.info.num_inference_steps),
    )
    for name, own in times.items():
        record["policies"][name]["alone"] = own
    record["timed_on"] = describe_machine()
    output.write_text(json.dumps(record, indent=1) + "\n")


def _alone(
    engine: Engine, chosen: Sequence[Variant], *, seed: int, num_inference_steps: int | None
) -> dict[str, dict[str, float]]:
    prompts, asked = grading_prompts(PICTURES + 1, seed), grading_questions(ANSWERS + 1, seed)
    pixels = engine.info.sizes[0][0]
    return alone(
        engine,
        {each.name: drawings(prompts, each, num_inference_steps=num_inference_steps) for each in chosen},
        {each.name: askings(asked, each, pixels=pixels) for each in chosen},
    )


def _given(num_inference_steps: int, default: int) -> int | None:
    # A policy has a share of the default points, so these may not be named.
    return None if num_inference_steps == default else num_inference_steps


def _category_names(prompts: Sequence[Prompt]) -> list[Category]:
    return list(dict.fromkeys(prompt.category for prompt in prompts))
