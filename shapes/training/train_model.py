"""Trains the embedded unified model: flow matching on captions and next tokens on answers, in every step.

The forward is `reference.py`'s. Questions about one picture share its tokens: each sees the picture and itself only, at
the positions it has when asked alone, so a picture is read once for all of them.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from flashu_core.checkpoint.config_json import model_config_to_json
from flashu_core.config import BackboneConfig, HeadConfig, ModelConfig, VisionConfig
from flashu_core.model import reference
from flashu_core.model.head import HeadBlock, velocity_to_latents
from flashu_core.model.showo2 import Showo2
from flashu_core.model.vae import Vae
from flashu_core.text.tokenizer import Tokenizer
from shapes.training.data import (
    ONE_WORD,
    SEGMENT_LENGTH,
    SENTENCE_LENGTH,
    WHOLE_SENTENCE,
    Captions,
    CaptionSource,
    QuestionBatch,
    QuestionSource,
    Scenes,
    questions_of,
    system_ids,
)
from shapes.training.labels import Probe, token_labels
from shapes.training.optimiser import MovingAverage, Optimiser, warm_flat_fall
from shapes.training.packing import packed_states
from shapes.training.precision import mixed
from shapes.training.report import History
from shapes.training.samples import draw_samples
from shapes.training.train_vae import LATENT_CHANNELS

# The answers' gradient is a few times the flow's: at this weight neither drowns the other.
ANSWER_WEIGHT = 0.5
LABEL_WEIGHT = 0.15
# The layer whose incoming stream the labels are read off, and the share of the run after which they no longer count.
LABEL_LAYER, LABELS_END = 4, 0.8
# The share of the run after which crowded scenes come as often as they are in the mix.
CROWDED_FROM = 0.15
# What the checkpoint's requests are drawn with; chosen on prompts that are not those of the reported grades.
GUIDANCE = 2.5
# Weights a run starts from, where it has no state of its own yet.
START = "start.pt"


def embedded_config(vocabulary: int, pixels: int) -> ModelConfig:
    """The embedded model: every part of a Show-o2, small."""
    grid = pixels // 16
    return ModelConfig(
        backbone=BackboneConfig(
            hidden_size=192, layers=8, heads=6, key_value_heads=2, ffn_size=512, vocabulary=vocabulary, rope_theta=1e4
        ),
        vision=VisionConfig(hidden_size=96, layers=2, heads=4, ffn_size=384, position_grid=grid),
        head=HeadConfig(
            hidden_size=192, blocks=3, heads=6, key_value_heads=2, ffn_size=512, rope_theta=1e4, rope_scaling=None
        ),
        grids=((grid, grid),),
        latent_channels=LATENT_CHANNELS,
        understanding_block="time",
        velocity_layout="patches",
    )


def sine_cosine_positions(grid: int, width: int) -> Tensor:
    """A 2-D table (grid * grid, width) at unit scale: half the width tells the row, half the column."""
    quarter = width // 4
    frequencies = 1.0 / 100.0 ** (torch.arange(quarter) / quarter)
    angles = torch.arange(grid)[:, None] * frequencies * (2 * torch.pi / grid)
    one = torch.cat([angles.sin(), angles.cos()], dim=1)  # (grid, width / 2)
    rows = one[:, None].expand(grid, grid, -1)
    columns = one[None].expand(grid, grid, -1)
    return torch.cat([rows, columns], dim=-1).reshape(grid * grid, width)


def initialise(model: Showo2) -> None:
    """Starting weights: modulation and velocity at zero, residual branches small, 2-D positions."""
    config = model.config
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
            if name.endswith(("o_proj", "down_proj", "out_proj", "fc2")):
                nn.init.normal_(module.weight, std=(module.in_features * 2 * config.backbone.layers) ** -0.5)
            if ".adaLN_modulation." in name or name.endswith("final.linear"):
                nn.init.zeros_(module.weight)
    nn.init.normal_(model.backbone.embed_tokens.weight, std=0.1)
    with torch.no_grad():
        for block in model.head.blocks:
            assert isinstance(block, HeadBlock)
            width = config.head.hidden_size
            block.adaLN_modulation[-1].get_parameter("bias").view(6, width)[2::3] = (
                1.0  # gates start open, as text sees them
            )
        model.vision.position_embedding.weight.copy_(
            sine_cosine_positions(config.vision.position_grid, config.vision.hidden_size)
        )


class Losses(nn.Module):
    """The losses of a step, on fixed shapes."""

    def __init__(self, model: Showo2, system: list[int], probe: Probe) -> None:
        super().__init__()
        self.model = model
        self.probe = probe
        self.register_buffer("system", torch.tensor(system))

    def flow(
        self, captions: Tensor, lengths: Tensor, latents: Tensor, noise: Tensor, times: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mean squared error of the velocity (data less noise), and the labels' cross-entropy.

        Args:
            captions: (B, T) prefixes, padded on the left.
            lengths: (B,) how many of their tokens count.
            latents: (B, C, h, w) of the captions' scenes.
            noise: (B, D, C, h, w): every caption is learned from D mixtures at once, which share its text.
            times: (B, D).
            labels: (B, N, 2), of the captions' scenes.
        """
        model = self.model
        config = model.config
        times = times.flatten()
        data = latents.repeat_interleave(noise.shape[1], dim=0)
        noise = noise.flatten(0, 1)
        time, token = model.time_tokens(times)
        blocks = model.image_block(model.vision(torch.lerp(noise, data, times.view(-1, 1, 1, 1))), token)
        text = model.backbone.embed_tokens(captions)
        state = packed_states(model, text, lengths, blocks, time)
        tokens = model.head.final(state[:, config.block_extra :], time).float()
        velocity = velocity_to_latents(tokens, *config.grids[0], config.patch_size, config.velocity_layout)
        stream = self.probe.stream()[0, captions.numel() :].unflatten(0, blocks.shape[:2])[:, config.block_extra :]
        read = self.probe.loss(stream, labels.repeat_interleave(times.shape[0] // len(labels), dim=0))
        return (velocity - (data - noise)).square().mean(), read

    def answers(self, ids: Tensor, targets: Tensor, latents: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Cross-entropies of the answers' tokens and of the labels, and the share of the former that are right."""
        model = self.model
        batch, _, length = ids.shape
        _, token = model.time_tokens(torch.ones(batch, device=ids.device))
        picture = model.image_block(model.vision(latents), token)
        system = model.backbone.embed_tokens(self.system).expand(batch, -1, -1)
        segments = model.backbone.embed_tokens(ids.flatten(1))
        embeddings = torch.cat([system, picture, segments], dim=1)
        start, size = system.shape[1], picture.shape[1]
        shared, total = start + size, embeddings.shape[1]
        index = torch.arange(total, device=ids.device)
        segment = torch.where(index < shared, -1, (index - shared) // length)
        positions = torch.where(index < shared, index, shared + (index - shared) % length).expand(batch, total)
        inside = (index >= start) & (index < shared)
        sees = (index[:, None] >= index) & ((segment == -1) | (segment[:, None] == segment))
        mask = (sees | (inside[:, None] & inside)).expand(batch, 1, total, total)
        hidden = reference.hidden_states(model, embeddings, mask, positions)
        logits = model.backbone.lm_head(hidden[:, shared:]).float().flatten(0, 1)
        wanted = targets.flatten()
        loss = functional.cross_entropy(logits, wanted, ignore_index=-100)
        counted = wanted != -100
        right = ((logits.argmax(-1) == wanted) & counted).sum() / counted.sum()
        extra = picture.shape[1] - labels.shape[1]
        read = self.probe.loss(self.probe.stream()[:, start + extra : start + size], labels)
        return loss, read, right


def draw_times(count: int, draws: int, shift: float, generator: torch.Generator) -> Tensor:
    """Times (count, draws): logit-normal, shifted towards noise as the sampler's grid is, with some uniform ones.

    They are spread: the draws of one picture fall in parts of their own of the distribution, and so do those that
    pictures have in the same part.
    """
    order = torch.rand(count, draws, generator=generator).argsort(dim=0)
    within = (order + torch.rand(count, draws, generator=generator)) / count
    spread = (torch.arange(draws) + within) / draws
    normal = torch.special.ndtri(spread.clamp(1e-4, 1 - 1e-4)).sigmoid()
    uniform = torch.rand(count, draws, generator=generator) < 0.2
    u = torch.where(uniform, spread, normal)
    return u / (u + shift - shift * u)


class Trainer:
    """A resumable run: `folder/state.pt` holds everything it needs to go on.

    Args:
        folder: of the run.
        tokenizer, vae: the run's own; they do not change.
        scenes: what is drawn and asked about.
        pixels: side of the pictures.
        pictures, draws: captions in a step, and noises each is learned from.
        asked: pictures asked about in a step.
        rate: share of the peak learning rates.
        device: where it trains.
    """

    def __init__(
        self,
        folder: Path,
        tokenizer: Tokenizer,
        vae: Vae,
        scenes: Scenes,
        *,
        pixels: int,
        pictures: int,
        draws: int,
        asked: int,
        rate: float = 1.0,
        device: str = "cpu",
    ) -> None:
        self.folder = folder
        self.tokenizer = tokenizer
        self.draws, self.rate = draws, rate
        self.device = torch.device(device)
        self.vae = vae.to(self.device)
        config = embedded_config(len(tokenizer), pixels)
        self.latents = scenes.latents.to(self.device)
        self.labels = token_labels(scenes.scenes, config.grids[0][0]).to(self.device)
        self.model = Showo2(config)
        initialise(self.model)
        self.average = MovingAverage(self.model.to(self.device), 0.998)
        # After the copy for the average, for it hooks into the model.
        self.losses = Losses(self.model, system_ids(tokenizer), Probe(self.model, LABEL_LAYER)).to(self.device)
        self.optimiser = Optimiser(
            self.losses,
            matrix_rate=0.02,
            rate=1.5e-3,
            plain=("embed", "position", "adaLN", "final.linear", "time_embed", "fusion_proj.0", "norm", "probe"),
        )
        self.step, self.spent = 0, 0.0
        self._load()
        everything = scenes.scenes
        self.captions = CaptionSource(tokenizer, everything, batch=pictures, seed=self.step)
        self.questions, self.sentences = (
            QuestionSource(
                questions_of(tokenizer, each=each, kinds=kinds, length=length),
                everything,
                batch=asked,
                seed=self.step + index,
            )
            for index, (each, kinds, length) in enumerate(
                ((6, ONE_WORD, SEGMENT_LENGTH), (2, WHOLE_SENTENCE, SENTENCE_LENGTH)), 1
            )
        )
        self.generator = torch.Generator().manual_seed(self.step)
        self.history = History(folder / "losses.jsonl")

    def _load(self) -> None:
        path, start = self.folder / "state.pt", self.folder / START
        if not path.exists():
            if start.exists():
                weights = torch.load(start, weights_only=True, map_location=self.device)
                self.model.load_state_dict(weights)
                self.average.model.load_state_dict(weights)
            return
        state = torch.load(path, weights_only=True, map_location=self.device)
        self.model.load_state_dict(state["model"])
        self.losses.probe.load_state_dict(state["probe"])
        self.average.model.load_state_dict(state["average"])
        self.average.updates = state["step"]
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.spent = state["step"], state["spent"]

    def save(self) -> None:
        """Writes the state (whole or not at all), the shipped average and the loss curve."""
        state = {
            "model": self.model.state_dict(),
            "probe": self.losses.probe.state_dict(),
            "average": self.average.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "spent": self.spent,
        }
        partial = self.folder / "state.partial"
        torch.save(state, partial)
        partial.replace(self.folder / "state.pt")
        torch.save(self.average.model.state_dict(), self.folder / "average.pt")
        (self.folder / "config.json").write_text(json.dumps(model_config_to_json(self.model.config), indent=1))
        self.history.draw(self.folder / "losses.png")
        draw_samples(self.average.model, self.vae, self.tokenizer, self.folder / "sheets" / f"{self.step:06d}.png")

    def run(self, minutes: float) -> None:
        """Trains until `minutes` of wall time are spent in all, saving every five minutes."""
        total = minutes * 60
        # The fused CPU kernel's backward takes a third of a step on sequences this short.
        with sdpa_kernel(SDPBackend.MATH):
            self._run(total)

    def _run(self, total: float) -> None:
        last = saved = time.monotonic()
        values: dict[str, float] = {}
        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        captions, sources = iter(self.captions), (iter(self.questions), iter(self.sentences))
        with Progress(*columns) as progress:
            task = progress.add_task("model", total=total, completed=int(self.spent))
            while self.spent < total:
                done = self.spent / total
                for source in (self.captions, self.questions, self.sentences):
                    source.choose.crowded = min(done / CROWDED_FROM, 1.0)
                # One-word questions and whole sentences in turn.
                turn = self.step % 2
                found = self._update(next(captions), next(sources[turn]), done)
                name = ("answer", "sentence")[turn]
                values |= {key: found[key] for key in ("flow", "labels", "seen")}
                values |= {name: found["answer"], f"{name}_right": found["right"]}
                now = time.monotonic()
                self.spent, last = self.spent + now - last, now
                text = " ".join(f"{name} {value:.3f}" for name, value in values.items())
                progress.update(task, completed=self.spent, description=f"{self.step} {text}")
                if self.step % 20 == 0:
                    self.history.add(self.step, values)
                if now - saved > 300:
                    self.save()
                    saved = now
        self.save()

    def _update(self, captions: Captions, questions: QuestionBatch, done: float) -> dict[str, float]:
        device = self.device
        weight = LABEL_WEIGHT if done < LABELS_END else 0.0
        chosen = captions.scenes.to(device)
        data = self.latents[chosen].float()
        shape = (len(data), self.draws, *data.shape[1:])
        noise = torch.randn(shape, generator=self.generator).to(device)
        times = draw_times(len(data), self.draws, self.model.config.time_shift, self.generator).to(device)
        with mixed(device):
            flow, labels = self.losses.flow(
                captions.ids.to(device), captions.lengths.to(device), data, noise, times, self.labels[chosen]
            )
        (flow + weight * labels).backward()
        chosen = questions.scenes.to(device)
        with mixed(device):
            answer, seen, right = self.losses.answers(
                questions.ids.to(device),
                questions.targets.to(device),
                self.latents[chosen].float(),
                self.labels[chosen],
            )
        (ANSWER_WEIGHT * answer + weight * seen).backward()
        nn.utils.clip_grad_norm_(self.losses.parameters(), 1.0)
        self.optimiser.step(self.rate * warm_flat_fall(done))
        self.average.update(self.model)
        self.step += 1
        return {
            "flow": flow.item(),
            "labels": labels.item(),
            "answer": answer.item(),
            "seen": seen.item(),
            "right": right.item(),
        }
