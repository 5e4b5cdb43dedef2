"""The image autoencoder against another implementation of Wan 2.1's, with random weights, and in tiles."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from benchmarks.random_weights import random_module
from flashu_core.config import WAN_VAE
from flashu_core.model import vae as vae_module
from flashu_core.model.vae import Vae, image_weights

SMALL = replace(WAN_VAE, width=8)
LEVEL = 4  # three residual blocks and an upsampling at each level of the decoder

# Names of diffusers to those of Wan2.1_VAE.pth.
NAMES = [
    (r"^quant_conv\.", "conv1."),
    (r"^post_quant_conv\.", "conv2."),
    (r"\.conv_in\.", ".conv1."),
    (r"\.norm_out\.", ".head.0."),
    (r"\.conv_out\.", ".head.2."),
    (r"\.mid_block\.resnets\.0\.", ".middle.0."),
    (r"\.mid_block\.attentions\.0\.", ".middle.1."),
    (r"\.mid_block\.resnets\.1\.", ".middle.2."),
    (r"\.down_blocks\.", ".downsamples."),
    (r"\.norm1\.", ".residual.0."),
    (r"\.conv1\.(?=(weight|bias)$)", ".residual.2."),
    (r"\.norm2\.", ".residual.3."),
    (r"\.conv2\.", ".residual.6."),
    (r"\.conv_shortcut\.", ".shortcut."),
]


def published(name: str) -> str:
    """One of diffusers' names as Wan's own code has it."""
    name = re.sub(r"up_blocks\.(\d)\.resnets\.(\d)", lambda at: f"upsamples.{LEVEL * int(at[1]) + int(at[2])}", name)
    name = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda at: f"upsamples.{LEVEL * int(at[1]) + 3}", name)
    within = "blocks." in name or "upsamples." in name or "mid_block." in name
    for pattern, replacement in NAMES:
        # Plain conv1 and conv2 are a residual block's parts only within one.
        if "residual" in replacement and not within:
            continue
        name = re.sub(pattern, replacement, name)
    return name


@pytest.fixture(scope="module")
def other() -> AutoencoderKLWan:
    torch.manual_seed(0)
    return AutoencoderKLWan(
        base_dim=SMALL.width,
        z_dim=SMALL.latent_channels,
        dim_mult=list(SMALL.multipliers),
        num_res_blocks=SMALL.residual_blocks,
        latents_mean=list(SMALL.latents_mean),
        latents_std=list(SMALL.latents_std),
    ).eval()


@pytest.fixture(scope="module")
def ours(other: AutoencoderKLWan) -> Vae:
    vae = Vae(SMALL).eval()
    vae.load_state_dict(image_weights({published(name): tensor for name, tensor in other.state_dict().items()}))
    return vae.requires_grad_(False)


def statistics() -> tuple[Tensor, Tensor]:
    return tuple(torch.tensor(x).view(1, -1, 1, 1) for x in (SMALL.latents_mean, SMALL.latents_std))  # type: ignore[return-value]


@torch.inference_mode()
def test_one_frame_is_encoded_alike(other: AutoencoderKLWan, ours: Vae) -> None:
    pixels = torch.rand(2, 3, 40, 56) * 2 - 1
    theirs = other.encode(pixels[:, :, None]).latent_dist
    mean, log_variance = ours.posterior(pixels)
    assert mean.std() > 1e-3
    torch.testing.assert_close(mean, theirs.mean[:, :, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(log_variance, theirs.logvar[:, :, 0], atol=1e-5, rtol=0)
    shift, scale = statistics()
    torch.testing.assert_close(ours.encode(pixels), (theirs.mean[:, :, 0] - shift) / scale, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_one_frame_is_decoded_alike(other: AutoencoderKLWan, ours: Vae) -> None:
    latents = torch.randn(2, SMALL.latent_channels, 5, 7)
    shift, scale = statistics()
    theirs = other.decode((latents * scale + shift)[:, :, None]).sample[:, :, 0]
    found = ours.decode(latents)
    assert found.shape == (2, 3, 40, 56)
    assert found.std() > 1e-3
    assert found.abs().max() < 1, "theirs is clamped"
    torch.testing.assert_close(found, theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("height", "width"), [(65, 40), (30, 70), (80, 66)])
@torch.inference_mode()
def test_tiles_give_the_whole_picture(monkeypatch: pytest.MonkeyPatch, height: int, width: int) -> None:
    vae = random_module(lambda: Vae(SMALL), dtype=torch.float32)
    latents = torch.randn(1, SMALL.latent_channels, height, width)
    tiled = vae.decode(latents)
    monkeypatch.setattr(vae_module, "_WHOLE_LATENTS", 1000)
    monkeypatch.setattr(vae, "_decode_tiles", None)
    whole = vae.decode(latents)
    assert whole.shape == (1, 3, 8 * height, 8 * width)
    torch.testing.assert_close(tiled, whole, atol=1e-5 * whole.abs().max().item(), rtol=0)


@torch.inference_mode()
def test_the_halo_is_as_far_as_a_pixel_sees() -> None:
    """Further would be wasted work, less would be wrong; single precision would hide the faint rim."""
    vae = random_module(lambda: Vae(SMALL), dtype=torch.float64)
    features = torch.randn(1, 4 * SMALL.width, 18, 6, dtype=torch.float64)
    before = vae.decoder.fine(features)
    features[:, :, 0] += 1.0
    changed = (vae.decoder.fine(features) != before).any(dim=3).any(dim=1)[0].nonzero().flatten()
    last = int(changed.max()) // SMALL.compression  # the latents' row of the last pixel that saw the change
    assert last == vae_module._TILE_HALO


def test_only_what_one_image_needs_is_kept() -> None:
    five = torch.arange(3.0).view(1, 1, 3, 1, 1).expand(2, 2, 3, 3, 3)
    found = image_weights(
        {
            "encoder.conv1.weight": five,
            "encoder.downsamples.5.time_conv.weight": five,
            "encoder.head.0.gamma": torch.ones(4, 1, 1, 1),
            "decoder.upsamples.3.resample.1.weight": five[:, :, 0],
        }
    )
    assert set(found) == {"encoder.conv1.weight", "encoder.head.0.gamma", "decoder.upsamples.3.resample.1.weight"}
    assert torch.equal(found["encoder.conv1.weight"], torch.full((2, 2, 3, 3), 2.0))  # the last time tap
    assert found["encoder.head.0.gamma"].shape == (4, 1, 1)
