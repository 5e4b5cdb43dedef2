"""Which FFN neurons matter to which task: measured while a model works, kept beside its checkpoint.

A neuron's importance is the sum of its absolute `down_proj` weights times the L2 norm of its activation over the
calibration's tokens (arXiv 2603.15271, section 3.3.1, eq. 2, after Wanda). Knows nothing of how neurons are pruned.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from flashu_core.acceleration.neurons import kept
from flashu_core.acceleration.policies import MAX_PRUNED
from flashu_core.checkpoint.layouts import CALIBRATION
from flashu_core.errors import CalibrationError
from flashu_core.model.backbone import DecoderLayer
from flashu_core.model.showo2 import Showo2
from flashu_core.types import Pixels, Task

FILE = CALIBRATION
VERSION = "2"
READABLE = 0o644  # safetensors writes files that only their owner reads; replicas may run as another user
TASKS: tuple[Task, ...] = ("generate", "vqa")
CALIBRATION_PROMPT = "a red apple and a small blue cup on a wooden table"
# What understanding is calibrated with where no samples are given: twenty questions about the first picture.
QUESTIONS = (
    *("What is in this picture?", "Describe the picture.", "What colour is the largest object?"),
    *("How many objects are there?", "Is there a cup?", "Is there an apple?", "Where is the cup?"),
    *("What is on the left?", "What is on the right?", "What is in the background?", "Is there a person?"),
    *("What shape is the object in the centre?", "Is anything red?", "Is anything blue?", "What is on the table?"),
    *("Is the picture bright or dark?", "Which object is the smallest?", "How many colours are there?"),
    *("What could happen next?", "What would a good title be?"),
)


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A picture, uint8 (H, W, 3), and a question about it."""

    image: Pixels
    question: str


def is_there(path: Path) -> bool:
    """Whether there is a file that can be looked at; a folder that is closed to this user holds none for it."""
    try:
        return path.exists()
    except OSError:
        return False


def data_hash(prompts: Sequence[str], samples: Sequence[Sample]) -> str:
    """SHA-256 in hexadecimal of what a calibration was measured on."""
    digest = hashlib.sha256()
    for prompt in prompts:
        digest.update(f"{len(prompt)}:{prompt}".encode())
    for sample in samples:
        digest.update(f"{sample.image.shape}{len(sample.question)}:{sample.question}".encode())
        digest.update(sample.image.tobytes())
    return digest.hexdigest()


@contextmanager
def activation_norms(model: Showo2) -> Iterator[Callable[[], Tensor]]:
    """Watches every full FFN of the backbone inside the block; the call it gives returns norms, (layers, neurons)."""
    squares: list[Tensor | None] = [None] * model.config.backbone.layers
    hooks = []

    def watch(index: int) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def add(_: nn.Module, inputs: tuple[Tensor, ...], __: Tensor) -> None:
            square = inputs[0].float().flatten(0, -2).square().sum(dim=0)
            known = squares[index]
            squares[index] = square if known is None else known + square

        return add

    def norms() -> Tensor:
        found = [square for square in squares if square is not None]
        if len(found) < len(squares):
            raise CalibrationError("nothing ran through the model's FFNs while it was watched")
        return torch.stack(found).sqrt()

    for index, layer in enumerate(model.backbone.layers):
        assert isinstance(layer, DecoderLayer)
        hooks.append(layer.mlp.down_proj.register_forward_hook(watch(index)))
    try:
        with model.eager():
            yield norms
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def importances(model: Showo2, norms: Tensor) -> Tensor:
    """Scores (layers, neurons) in float32 from activation norms of the same shape (eq. 2)."""
    weights = []
    for layer in model.backbone.layers:
        assert isinstance(layer, DecoderLayer)
        weights.append(layer.mlp.down_proj.weight.float().abs().sum(dim=0))
    return torch.stack(weights) * norms


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Calibration:
    """The artefact.

    Attributes:
        scores: of each task, (layers, neurons) in float32, in the checkpoint's order.
        ratios: the share of the neurons that each task's own path prunes.
        digest: of the checkpoint they were measured on.
        provenance: how they were measured: data hash, settings, version.
    """

    scores: Mapping[Task, Tensor]
    ratios: Mapping[Task, float]
    digest: str
    provenance: Mapping[str, str]

    def kept(self, task: Task) -> Tensor:
        """The neurons that a task's own path keeps, (layers, kept), ascending."""
        return torch.stack([kept(row, self.ratios[task]) for row in self.scores[task].cpu()])

    def save(self, path: Path) -> None:
        """Writes it, whole or not at all."""
        # A name of its own: replicas that share a folder may write at the same time.
        partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
        tensors = {f"scores.{task}": self.scores[task].float().cpu().contiguous() for task in TASKS}
        tensors |= {f"kept.{task}": self.kept(task).int() for task in TASKS}
        metadata = {
            "version": VERSION,
            "digest": self.digest,
            "ratios": json.dumps(dict(self.ratios)),
            "provenance": json.dumps(dict(self.provenance)),
        }
        try:
            save_file(tensors, partial, metadata)
            partial.chmod(READABLE)
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)  # what is there of it may fill the disk
            raise

    def keep(self, places: Iterable[Path]) -> Path | None:
        """Saves it at the first place that can be written; where none can, it will be measured again."""
        for path in places:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self.save(path)
            except (OSError, SafetensorError):
                continue
            return path
        return None

    @classmethod
    def load(cls, path: Path, *, digest: str, shape: tuple[int, int]) -> Calibration:
        """Reads it.

        Args:
            path: the file.
            digest: of the checkpoint it is to serve.
            shape: that model's layers and FFN neurons.

        Raises:
            CalibrationError: it is damaged, of another version or of another checkpoint.
        """
        again = "make a new one with 'flashu calibrate'"
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in list(file.keys())}
            provenance = json.loads(metadata.get("provenance", "{}"))
            found = json.loads(metadata.get("ratios", "{}"))
            ratios: dict[Task, float] = {task: float(found.get(task, 0.0)) for task in TASKS}
        except (SafetensorError, OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise CalibrationError(f"{path} cannot be read as a calibration: {error}; {again}") from error
        for task, ratio in ratios.items():
            if not 0.0 <= ratio <= MAX_PRUNED:  # written so that a NaN fails too
                raise CalibrationError(
                    f"{path}: the ratio of {task} is {ratio}; it must be from 0 to {MAX_PRUNED}; {again}"
                )
        if metadata.get("version") != VERSION:
            raise CalibrationError(f"{path} is of version {metadata.get('version')}, not {VERSION}; {again}")
        if metadata.get("digest") != digest:
            raise CalibrationError(
                f"{path} is of the checkpoint {metadata.get('digest')}, not of {digest}, which is loaded; {again}"
            )
        for task in TASKS:
            found = tensors.get(f"scores.{task}")
            if found is None or tuple(found.shape) != shape or not bool(torch.isfinite(found).all()):
                state = "is missing" if found is None else f"is {list(found.shape)} or not finite"
                raise CalibrationError(f"{path}: scores.{task} {state}; it must be {list(shape)}; {again}")
        scores: dict[Task, Tensor] = {task: tensors[f"scores.{task}"].float() for task in TASKS}
        calibration = cls(scores=scores, ratios=ratios, digest=digest, provenance=provenance)
        for task in TASKS:
            listed = tensors.get(f"kept.{task}")
            if listed is None or not torch.equal(listed.long(), calibration.kept(task)):
                raise CalibrationError(f"{path}: kept.{task} is missing or not what scores.{task} says; {again}")
        return calibration
