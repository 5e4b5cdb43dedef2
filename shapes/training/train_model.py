"""Trains the embedded unified model: flow matching on captions and next tokens on answers, in every step.

The forward is `reference.py`'s. Questions about one picture share its tokens: each sees the picture and itself only, at
the positions it has when asked alone, so a picture is read once for all of them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
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
    Captions,
    CaptionSource,
    QuestionBatch,
    QuestionSource,
    descriptions_of,
    questions_of,
    system_ids,
)
from shapes.training.optimiser import MovingAverage, Optimiser, warm_flat_fall
from shapes.training.packing import packed_states
from shapes.training.precision import mixed
from shapes.training.report import History
from shapes.training.samples import draw_samples
from shapes.training.train_vae import LATENT_CHANNELS

# The answers' gradient is a few times the flow's: at this weight neither drowns the other.
ANSWER_WEIGHT = 0.5
# What the checkpoint's requests are drawn with; chosen on prompts that are not those of the reported grades.
GUIDANCE = 2.5
# A picture is 16 tokens here: dropping half of them halves the right answers, all else costs none.
OWN_POLICIES: Mapping[str, Mapping[str, Mapping[str, float]]] = {"flashu": {"vqa": {"token_ratio": 0.0}}}
# Weights a run starts from, where it has no state of its own yet.
START = "start.pt"


def embedded_config(vocabulary: int, pixels: int) -> ModelConfig:
    """The embedded model: every part of a Show-o2, small."""
    grid = pixels // 16
    return ModelConfig(
        backbone=BackboneConfig(
            hidden_size=128, layers=10, heads=4, key_value_heads=2, ffn_size=512, vocabulary=vocabulary, rope_theta=1e4
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
    """Both losses of a step, on fixed shapes."""

    def __init__(self, model: Showo2, system: list[int]) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("system", torch.tensor(system))

    def flow(self, captions: Tensor, lengths: Tensor, latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """Mean squared error of the velocity (data less noise).

        Args:
            captions: (B, T) prefixes, padded on the left.
            lengths: (B,) how many of their tokens count.
            latents: (B, C, h, w) of the captions' scenes.
            noise: (B, D, C, h, w): every caption is learned from D mixtures at once, which share its text.
            times: (B, D).
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
        return (velocity - (data - noise)).square().mean()

    def answers(self, ids: Tensor, targets: Tensor, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy of the answers' tokens, and the share of them that are right."""
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
        return loss, right


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
        drawn, asked_about: (scenes, C, h, w) of training seeds 0 and up, what is drawn and what is asked about.
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
        drawn: Tensor,
        asked_about: Tensor,
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
        self.drawn, self.asked_about = drawn.to(self.device), asked_about.to(self.device)
        config = embedded_config(len(tokenizer), pixels)
        self.model = Showo2(config)
        initialise(self.model)
        self.model.to(self.device)
        self.losses = Losses(self.model, system_ids(tokenizer)).to(self.device)
        self.average = MovingAverage(self.model, 0.998)
        self.optimiser = Optimiser(
            self.model,
            matrix_rate=0.02,
            rate=1.5e-3,
            plain=("embed", "position", "adaLN", "final.linear", "time_embed", "fusion_proj.0", "norm"),
        )
        self.step, self.spent = 0, 0.0
        self._load()
        self.captions = iter(CaptionSource(tokenizer, scenes=len(drawn), batch=pictures, seed=self.step))
        self.questions, self.descriptions = (
            iter(QuestionSource(ask, scenes=len(asked_about), batch=asked, seed=self.step + index))
            for index, ask in enumerate((questions_of(tokenizer, each=6), descriptions_of(tokenizer, each=2)), 1)
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
        self.average.model.load_state_dict(state["average"])
        self.average.updates = state["step"]
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.spent = state["step"], state["spent"]

    def save(self) -> None:
        """Writes the state (whole or not at all), the shipped average and the loss curve."""
        state = {
            "model": self.model.state_dict(),
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
        with Progress(*columns) as progress:
            task = progress.add_task("model", total=total, completed=int(self.spent))
            while self.spent < total:
                # Pictures are asked about and described in turn.
                source, name = (self.descriptions, "description") if self.step % 2 else (self.questions, "answer")
                scale = self.rate * warm_flat_fall(self.spent / total)
                found = self._update(next(self.captions), next(source), scale)
                values |= {"flow": found["flow"], name: found["answer"], f"{name}_right": found["right"]}
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

    def _update(self, captions: Captions, questions: QuestionBatch, scale: float) -> dict[str, float]:
        device = self.device
        data = self.drawn[captions.scenes.to(device)].float()
        shape = (len(data), self.draws, *data.shape[1:])
        noise = torch.randn(shape, generator=self.generator).to(device)
        times = draw_times(len(data), self.draws, self.model.config.time_shift, self.generator).to(device)
        with mixed(device):
            flow = self.losses.flow(captions.ids.to(device), captions.lengths.to(device), data, noise, times)
        flow.backward()
        asked = self.asked_about[questions.scenes.to(device)].float()
        with mixed(device):
            answer, right = self.losses.answers(questions.ids.to(device), questions.targets.to(device), asked)
        (ANSWER_WEIGHT * answer).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step(scale)
        self.average.update(self.model)
        self.step += 1
        return {"flow": flow.item(), "answer": answer.item(), "right": right.item()}
