"""Trains the embedded model's autoencoder on rendered scenes.

Reconstruction in squared error with a Gaussian prior on the latents, weighed as a likelihood with `PIXEL_NOISE`: enough
prior to keep the latents smooth, so that the flow model has little to learn beyond where things are.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import torch
from rich.progress import Progress
from torch import Tensor

from flashu_core.config import VaeConfig
from flashu_core.config_file import vae_config_to_json
from flashu_core.model.vae import Vae
from shapes.render import render
from shapes.scene import sample_scene
from shapes.seeds import training_rng
from shapes.training.optimiser import MovingAverage, Optimiser, warm_cosine
from shapes.training.report import History, sheet

PIXEL_NOISE = 0.06
PRIOR_RAMP = 0.3  # share of the run over which the prior's weight rises


def untrained_config(width: int) -> VaeConfig:
    """A configuration whose statistics are not measured yet."""
    return VaeConfig(width=width, latents_mean=(0.0,) * 16, latents_std=(1.0,) * 16)


def pictures(first: int, count: int, pixels: int) -> Tensor:
    """Training scenes `first` to `first + count` as uint8 (count, 3, pixels, pixels)."""
    batch = np.empty((count, pixels, pixels, 3), dtype=np.uint8)
    for offset in range(count):
        batch[offset] = render(sample_scene(training_rng(first + offset)), pixels)
    return torch.from_numpy(batch).permute(0, 3, 1, 2).contiguous()


def to_signed(images: Tensor) -> Tensor:
    """uint8 pixels to float32 in [-1, 1]."""
    return images.float().div(127.5).sub(1)


def train(folder: Path, *, width: int, pixels: int, minutes: float, batch: int = 32, scenes: int = 20_000) -> None:
    """Trains for `minutes` of wall time, resuming from `folder/state.pt`, and leaves `vae.pt` and `vae.json` there.

    Args:
        folder: where states, curves and sheets go.
        width: channels at full resolution.
        pixels: side of the pictures.
        minutes: length of the whole run; a resumed run does what is left of it.
        batch: pictures per update.
        scenes: size of the rendered set.
    """
    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    folder.mkdir(parents=True, exist_ok=True)
    vae = Vae(untrained_config(width))
    with torch.no_grad():
        # Latents start nearly without noise, and the prior comes in slowly: both at once from the first step end with
        # latents that say nothing.
        vae.conv1.get_parameter("bias")[vae.config.latent_channels :] = -5.0
    average = MovingAverage(vae, 0.995)
    optimiser = Optimiser(vae, matrix_rate=0.0, rate=2e-3, plain=("",), decay=0.0)
    step, spent = 0, 0.0
    state_path = folder / "state.pt"
    if state_path.exists():
        state = torch.load(state_path, weights_only=True)
        vae.load_state_dict(state["model"])
        average.model.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        step, spent, average.updates = state["step"], state["spent"], state["step"]
    history = History(folder / "losses.jsonl")

    @torch.compile
    def reconstruct(target: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_variance = vae.posterior(target)
        mean, log_variance = mean.float(), log_variance.float().clamp(-20, 10)
        sample = mean + torch.exp(0.5 * log_variance) * noise
        return vae.decoder(vae.conv2(sample)).float(), mean, log_variance

    images = pictures(0, scenes, pixels)
    generator = torch.Generator().manual_seed(step)
    latent_shape = (batch, vae.config.latent_channels, pixels // 8, pixels // 8)
    prior_weight = 2 * PIXEL_NOISE**2 * average.model.config.latent_channels / (3 * 64)

    def save() -> None:
        torch.save(
            {
                "model": vae.state_dict(),
                "average": average.model.state_dict(),
                "optimiser": optimiser.state_dict(),
                "step": step,
                "spent": spent,
            },
            state_path,
        )
        history.draw(folder / "losses.png")
        draw_sheet(average.model, images[:12], folder / f"sheet-{step:06d}.png")

    last, saved = time.monotonic(), time.monotonic()
    with Progress() as progress:
        task = progress.add_task("vae", total=minutes * 60, completed=int(spent))
        while spent < minutes * 60:
            chosen = images[torch.randint(0, scenes, (batch,), generator=generator)]
            target = to_signed(chosen).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                decoded, mean, log_variance = reconstruct(target, torch.randn(latent_shape, generator=generator))
            error = (decoded - target).square().mean()
            prior = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
            (error + prior_weight * min(spent / (minutes * 60) / PRIOR_RAMP, 1.0) * prior).backward()
            torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
            optimiser.step(warm_cosine(spent / (minutes * 60)))
            average.update(vae)
            step += 1
            now = time.monotonic()
            spent, last = spent + now - last, now
            progress.update(task, completed=spent, description=f"vae {step} error {error.item():.5f}")
            if step % 50 == 0:
                history.add(step, {"error": error.item(), "prior": prior.item()})
            if now - saved > 120:
                save()
                saved = time.monotonic()
    save()
    finish(average.model, images, folder)


@torch.no_grad()
def draw_sheet(vae: Vae, images: Tensor, path: Path) -> None:
    """Pictures above their reconstructions."""
    mean, _ = vae.posterior(to_signed(images).contiguous(memory_format=torch.channels_last))
    decoded = vae.decoder(vae.conv2(mean)).clamp(-1, 1).add(1).mul(127.5).round().byte()
    both = torch.cat([images[:6], decoded[:6], images[6:], decoded[6:]]).permute(0, 2, 3, 1)
    sheet(list(both.numpy()), [], path)


@torch.no_grad()
def finish(vae: Vae, images: Tensor, folder: Path) -> None:
    """Measures the latents' statistics and writes the weights and the configuration."""
    means, variances = [], []
    for chunk in images[:4096].split(256):
        mean, log_variance = vae.posterior(to_signed(chunk).contiguous(memory_format=torch.channels_last))
        means.append(mean)
        variances.append(log_variance.exp())
    mean, variance = torch.cat(means), torch.cat(variances)
    # With the posterior's own variance: a channel the prior switched off stays near zero instead of being blown up.
    std = (mean.var(dim=(0, 2, 3)) + variance.mean(dim=(0, 2, 3))).sqrt()
    config = VaeConfig(
        width=vae.config.width,
        latents_mean=tuple(round(value, 5) for value in mean.mean(dim=(0, 2, 3)).tolist()),
        latents_std=tuple(round(value, 5) for value in std.tolist()),
    )
    (folder / "vae.json").write_text(json.dumps(vae_config_to_json(config), indent=1))
    torch.save({name: tensor.bfloat16() for name, tensor in vae.state_dict().items()}, folder / "vae.pt")
