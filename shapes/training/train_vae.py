"""Trains the embedded model's autoencoder on rendered scenes.

Reconstruction in squared error, of pixels and of edges, with a Gaussian prior on the latents, weighed as a likelihood
with `PIXEL_NOISE`: enough prior to keep the latents smooth, so that the flow model has little to learn beyond where
things are.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.progress import Progress
from torch import Tensor

from flashu_core.checkpoint.config_json import vae_config_to_json
from flashu_core.config import VaeConfig
from flashu_core.model.vae import Vae
from shapes.land.scenes import painted, sample_scene
from shapes.seeds import training_rng
from shapes.training.optimiser import MovingAverage, Optimiser, warm_cosine
from shapes.training.precision import mixed
from shapes.training.report import History, sheet

# Of plain forms the prior left four of sixteen in use; what it leaves is noise that the flow model must learn to copy.
LATENT_CHANNELS = 8
# The larger, the fewer nats a latent carries and the easier its flow: of plain forms 1.3 at 0.06, 0.3 at 0.2.
PIXEL_NOISE = 0.1
# Of differences between neighbours: what is small, an eye or a sail, is little of a picture but much of its edges.
EDGE_WEIGHT = 1.0
PRIOR_RAMP = 0.3  # share of the run over which the prior's weight rises


def untrained_config(width: int) -> VaeConfig:
    """A configuration whose statistics are not measured yet."""
    return VaeConfig(
        width=width,
        latent_channels=LATENT_CHANNELS,
        latents_mean=(0.0,) * LATENT_CHANNELS,
        latents_std=(1.0,) * LATENT_CHANNELS,
    )


def pictures(first: int, count: int, pixels: int) -> Tensor:
    """Training scenes `first` to `first + count` as uint8 (count, 3, pixels, pixels)."""
    batch = np.empty((count, pixels, pixels, 3), dtype=np.uint8)
    for offset in range(count):
        batch[offset] = painted(sample_scene(training_rng(first + offset)), pixels)
    return torch.from_numpy(batch).permute(0, 3, 1, 2).contiguous()


def to_signed(images: Tensor) -> Tensor:
    """uint8 pixels to float32 in [-1, 1]."""
    return images.float().div(127.5).sub(1)


class VaeTrainer:
    """A resumable run: `folder/state.pt` holds everything it needs to go on.

    Args:
        folder: where states, curves and sheets go, and at the end `vae.pt` and `vae.json`.
        width: channels at full resolution.
        pixels: side of the pictures.
        batch: pictures in an update.
        scenes: size of the rendered set.
        device: where it trains.
        start: weights of another autoencoder of this width, of which a new run takes what has the same shape.
    """

    def __init__(
        self,
        folder: Path,
        *,
        width: int,
        pixels: int,
        batch: int = 16,
        scenes: int = 20_000,
        device: str = "cpu",
        start: Mapping[str, Tensor] | None = None,
    ) -> None:
        torch.manual_seed(0)
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.device = torch.device(device)
        self.batch = batch
        self.images = pictures(0, scenes, pixels)
        self.vae = Vae(untrained_config(width))
        with torch.no_grad():
            # Latents start nearly without noise, and the prior comes in slowly: both at once from the first step end
            # with latents that say nothing.
            self.vae.conv1.get_parameter("bias")[self.vae.config.latent_channels :] = -5.0
            for name, tensor in self.vae.state_dict().items():
                if start is not None and name in start and start[name].shape == tensor.shape:
                    tensor.copy_(start[name])
        self.vae.to(self.device)
        self.average = MovingAverage(self.vae, 0.995)
        self.optimiser = Optimiser(self.vae, matrix_rate=0.0, rate=2e-3, plain=("",), decay=0.0)
        self.step, self.spent = 0, 0.0
        self._load()
        self.generator = torch.Generator().manual_seed(self.step)
        self.history = History(folder / "losses.jsonl")
        self.reconstruct = torch.compile(self._reconstruct)

    def _load(self) -> None:
        path = self.folder / "state.pt"
        if path.exists():
            state = torch.load(path, weights_only=True, map_location=self.device)
            self.vae.load_state_dict(state["model"])
            self.average.model.load_state_dict(state["average"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.step, self.spent, self.average.updates = state["step"], state["spent"], state["step"]

    def save(self) -> None:
        """Writes the state, the curve and a sheet of reconstructions."""
        state = {
            "model": self.vae.state_dict(),
            "average": self.average.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "spent": self.spent,
        }
        torch.save(state, self.folder / "state.pt")
        self.history.draw(self.folder / "losses.png")
        draw_sheet(self.average.model, self.images[:12], self.folder / f"sheet-{self.step:06d}.png")

    def run(self, minutes: float) -> None:
        """Trains until `minutes` of wall time are spent in all, saving every five minutes; then writes the result."""
        total = minutes * 60
        last = saved = time.monotonic()
        with Progress() as progress:
            task = progress.add_task("vae", total=total, completed=int(self.spent))
            while self.spent < total:
                values = self._update(self.spent / total)
                now = time.monotonic()
                self.spent, last = self.spent + now - last, now
                progress.update(task, completed=self.spent, description=f"vae {self.step} error {values['error']:.5f}")
                if self.step % 50 == 0:
                    self.history.add(self.step, values)
                if now - saved > 300:
                    self.save()
                    saved = now
        self.save()
        finish(self.average.model, self.images, self.folder)

    def _reconstruct(self, target: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_variance = self.vae.posterior(target)
        mean, log_variance = mean.float(), log_variance.float().clamp(-20, 10)
        sample = mean + torch.exp(0.5 * log_variance) * noise
        return self.vae.decoder(self.vae.conv2(sample)).float(), mean, log_variance

    def _update(self, done: float) -> dict[str, float]:
        chosen = torch.randint(0, len(self.images), (self.batch,), generator=self.generator)
        target = to_signed(self.images[chosen].to(self.device)).contiguous(memory_format=torch.channels_last)
        channels, side = self.vae.config.latent_channels, target.shape[-1] // self.vae.config.compression
        noise = torch.randn((self.batch, channels, side, side), generator=self.generator).to(self.device)
        with mixed(self.device):
            decoded, mean, log_variance = self.reconstruct(target, noise)
        wrong = decoded - target
        error = wrong.square().mean()
        edges = wrong.diff(dim=-1).square().mean() + wrong.diff(dim=-2).square().mean()
        prior = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        # Both terms are means over their own elements; a latent stands for compression**2 pixels of three values.
        weight = 2 * PIXEL_NOISE**2 * channels / (3 * self.vae.config.compression**2)
        (error + EDGE_WEIGHT * edges + weight * min(done / PRIOR_RAMP, 1.0) * prior).backward()
        torch.nn.utils.clip_grad_norm_(self.vae.parameters(), 1.0)
        self.optimiser.step(warm_cosine(done))
        self.average.update(self.vae)
        self.step += 1
        return {"error": error.item(), "edges": edges.item(), "prior": prior.item()}


def _ready(images: Tensor, vae: Vae) -> Tensor:
    device = vae.conv1.weight.device
    return to_signed(images.to(device)).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def draw_sheet(vae: Vae, images: Tensor, path: Path) -> None:
    """Pictures above their reconstructions."""
    mean, _ = vae.posterior(_ready(images, vae))
    decoded = vae.decoder(vae.conv2(mean)).clamp(-1, 1).add(1).mul(127.5).round().byte().cpu()
    both = torch.cat([images[:6], decoded[:6], images[6:], decoded[6:]]).permute(0, 2, 3, 1)
    sheet(list(both.numpy()), [], path)


@torch.no_grad()
def finish(vae: Vae, images: Tensor, folder: Path) -> None:
    """Measures the latents' statistics and writes the weights and the configuration."""
    means, variances = [], []
    for chunk in images[:4096].split(256):
        mean, log_variance = vae.posterior(_ready(chunk, vae))
        means.append(mean)
        variances.append(log_variance.exp())
    mean, variance = torch.cat(means), torch.cat(variances)
    # With the posterior's own variance: a channel the prior switched off stays near zero instead of being blown up.
    std = (mean.var(dim=(0, 2, 3)) + variance.mean(dim=(0, 2, 3))).sqrt()
    config = replace(
        vae.config,
        latents_mean=tuple(round(value, 5) for value in mean.mean(dim=(0, 2, 3)).tolist()),
        latents_std=tuple(round(value, 5) for value in std.tolist()),
    )
    (folder / "vae.json").write_text(json.dumps(vae_config_to_json(config), indent=1))
    torch.save({name: tensor.bfloat16() for name, tensor in vae.cpu().state_dict().items()}, folder / "vae.pt")
