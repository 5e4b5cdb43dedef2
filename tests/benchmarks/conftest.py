"""Folders of golden data whose expected tensors come from the slow reference, not from the engine."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import silu

from flashu_core.checkpoint.config_json import model_config_to_json
from flashu_core.checkpoint.weights import published_name
from flashu_core.config import (
    BackboneConfig,
    HeadConfig,
    ModelConfig,
    VisionConfig,
)
from flashu_core.model import reference
from flashu_core.model.attention import rotary
from flashu_core.model.backbone import DecoderLayer
from flashu_core.model.head import velocity_to_latents
from flashu_core.model.showo2 import Showo2

IDS = {"bos": 1, "eos": 2, "boi": 3, "eoi": 4, "pad": 5, "img_pad": 6}
VOCABULARY = 300
SHIFT = 3.0

_VISION = VisionConfig(hidden_size=32, layers=2, heads=2, ffn_size=64, position_grid=6)


def _variant(*, width: int, head: int, grid: tuple[int, int], tied: bool, shared: int) -> ModelConfig:
    return ModelConfig(
        backbone=BackboneConfig(
            hidden_size=width,
            layers=3,
            heads=4,
            key_value_heads=shared,
            ffn_size=2 * width,
            vocabulary=VOCABULARY,
            tied_embeddings=tied,
        ),
        vision=_VISION,
        head=HeadConfig(hidden_size=head, blocks=2, heads=4, key_value_heads=shared, ffn_size=2 * head),
        grids=(grid,),
    )


VARIANTS = {
    "untied, other widths": (_variant(width=80, head=48, grid=(6, 6), tied=False, shared=2), (4, 9, 2)),
    "head as wide, smaller grid": (_variant(width=64, head=64, grid=(4, 4), tied=True, shared=4), (7, 3)),
    "oblong grid, one shared head": (_variant(width=48, head=64, grid=(5, 3), tied=False, shared=1), (5,)),
}


@dataclass(slots=True)
class Oracle:
    """Whole sequences through `reference.py`: no caches, nothing shared between steps."""

    model: Showo2
    prompts: list[list[int]]

    @property
    def block(self) -> int:
        rows, columns = self.model.config.grids[0]
        return rows * columns + 1

    def velocities(self, latents: Tensor, times: Tensor) -> Tensor:
        """Text rows, then null rows, before guidance."""
        rows = [[IDS["bos"], *prompt, IDS["boi"]] for prompt in self.prompts]
        rows += [[IDS["bos"], IDS["boi"]]] * len(rows)
        whole = [[*row, *[IDS["img_pad"]] * self.block, IDS["eoi"], IDS["eos"]] for row in rows]
        length = max(map(len, whole)) + 3
        ids = torch.tensor([row + [IDS["pad"]] * (length - len(row)) for row in whole])
        return reference.velocities(self.model, ids, [len(row) for row in rows], torch.cat([latents, latents]), times)

    def sample(self, noise: Tensor, num_inference_steps: int, guidance_scale: float) -> tuple[Tensor, Tensor]:
        """The time grid and the latents at its end."""
        uniform = torch.linspace(0, 1, num_inference_steps)
        times = uniform / (uniform + SHIFT - SHIFT * uniform)
        latents = noise
        for start, end in itertools.pairwise(times):
            text, uncond = self.velocities(latents, start.repeat(2 * len(noise))).chunk(2)
            latents = latents + (uncond + guidance_scale * (text - uncond)) * (end - start)
        return times, latents

    def importances(self, length: int) -> list[Tensor]:
        """Sums of absolute weights times norms of activations, over prompt 0 twice with padding for an image."""
        ids = [*self.rows()[0], *[IDS["img_pad"]] * self.block, IDS["eoi"], IDS["eos"]]
        whole = torch.tensor([ids + [IDS["pad"]] * (length - len(ids))] * 2)
        config = self.model.config.backbone
        mask = reference.omni_mask(length, [(len(self.rows()[0]), self.block)] * 2, whole.device)
        positions = torch.arange(length).expand(2, -1)
        rotation = rotary(positions, config.hidden_size // config.heads, config.rope_theta, None, torch.float32)
        x = self.model.backbone.embed_tokens(whole)
        found = []
        for layer in self.model.backbone.layers:
            assert isinstance(layer, DecoderLayer)
            x = x + reference._mix(layer.self_attn, layer.input_layernorm(x), *rotation, mask)
            normed = layer.post_attention_layernorm(x)
            activations = silu(normed @ layer.mlp.gate_proj.weight.T) * (normed @ layer.mlp.up_proj.weight.T)
            found.append(layer.mlp.down_proj.weight.abs().sum(0) * activations.flatten(0, 1).square().sum(0).sqrt())
            x = x + layer.mlp(normed)
        return found

    def flashu(
        self, noise: Tensor, kept: list[Tensor], forced: dict[int, list[int]], *, base: float
    ) -> tuple[Tensor, Tensor]:
        """Guided velocities and final latents of 35 points as the original runs them: everything in every step,
        with zeroed weights for pruned neurons, and the stored head state instead of a new one where it is due."""
        pruned = copy.deepcopy(self.model)
        for layer, neurons in zip(pruned.backbone.layers, kept, strict=True):
            assert isinstance(layer, DecoderLayer)
            gone = torch.ones(layer.mlp.down_proj.weight.shape[1], dtype=torch.bool)
            gone[neurons] = False
            layer.mlp.down_proj.weight[:, gone] = 0.0
        every = list(pruned.backbone.layers)
        uniform = torch.linspace(0, 1, 35)
        times = uniform / (uniform + SHIFT - SHIFT * uniform)
        latents, skipped, velocities = noise, [], []
        stored: Tensor | None = None
        for step, (start, end) in enumerate(itertools.pairwise(times), start=1):
            full = step > 35 - 11
            measures = not full and (step - 1) % 10 == 0
            skipped_layers = [] if full or measures else skipped
            model = self.model if full else pruned
            if not full:
                layers = [layer for index, layer in enumerate(every) if index not in skipped_layers]
                pruned.backbone.layers = torch.nn.ModuleList(layers)
            state, time = self.states(model, latents, start.repeat(2))
            if full or stored is None or step % 5 == 0:
                used = state
                if step % 5 == 0:
                    stored = state
            else:
                used = stored
            tokens = model.head.final(used, time)
            config = self.model.config
            both = velocity_to_latents(tokens, *config.grids[0], config.patch_size, config.velocity_layout)
            text, uncond = both.chunk(2)
            guidance_scale = base if full else 0.75 * base
            velocities.append(uncond + guidance_scale * (text - uncond))
            latents = latents + velocities[-1] * (end - start)
            skipped = forced.get(step, skipped)
        return torch.cat(velocities), latents

    def states(self, model: Showo2, latents: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """The head's state of the image tokens of prompt 0 and of no prompt, and what modulates the final layer."""
        rows = [self.rows()[0], [IDS["bos"], IDS["boi"]]]
        length = max(map(len, rows)) + self.block
        ids = torch.tensor([row + [IDS["pad"]] * (length - len(row)) for row in rows])
        time, token = model.time_tokens(times)
        block = model.image_block(model.vision(torch.cat([latents, latents])), token)
        offsets = [len(row) for row in rows]
        embeddings = reference.place(model.backbone.embed_tokens(ids), block, offsets)
        positions = torch.arange(length).expand(2, -1)
        mask = reference.omni_mask(length, [(offset, self.block) for offset in offsets], ids.device)
        hidden = reference.hidden_states(model, embeddings, mask, positions)
        starts = torch.tensor(offsets)[:, None]
        image = (positions >= starts) & (positions < starts + self.block)
        state = reference.head_states(model, hidden, time, image, mask, positions)
        return torch.stack([row[o + 1 : o + self.block] for row, o in zip(state, offsets, strict=True)]), time

    def rows(self) -> list[list[int]]:
        """The prompts with what is around them."""
        return [[IDS["bos"], *prompt, IDS["boi"]] for prompt in self.prompts]

    def answer(
        self, latents: Tensor, vqa: dict[str, Any], offset: int, forced: Tensor, count: int
    ) -> dict[str, Tensor]:
        """Teacher-forced logits and a greedy continuation; the block starts at `offset`."""
        model = self.model
        _, time = model.time_tokens(torch.ones(1))
        prefix, suffix = vqa["prefix"], vqa["suffix"]
        picture = model.vision(latents)
        prompt = torch.cat([model.embed([*prefix, suffix[0]]), time, picture, model.embed(suffix[1:])], dim=1)

        def logits(tokens: list[int]) -> Tensor:
            sequence = torch.cat([prompt, model.embed(tokens)], dim=1) if tokens else prompt
            return reference.answer_logits(model, sequence, (offset, self.block))[0, prompt.shape[1] - 1 :]

        generated: list[int] = []
        for _ in range(count):
            generated.append(int(logits(generated)[-1].argmax()))
        teacher = logits(forced.tolist())
        return {"first_logits": teacher[0], "forced_logits": teacher, "tokens": torch.tensor(generated)}


def spread_like_golden(model: Showo2) -> None:
    """Random weights with the spreads of the golden data's own, measured tensor by tensor."""
    generator = torch.Generator().manual_seed(11)
    for name, parameter in model.named_parameters():
        if "embed_tokens" in name or "lm_head" in name:
            parameter.normal_(0.0, 0.5, generator=generator)
        elif parameter.dim() == 1:
            parameter.normal_(0.0 if name.endswith("bias") else 1.0, 0.1, generator=generator)
        else:
            parameter.normal_(0.0, 0.8 * parameter.shape[-1] ** -0.5, generator=generator)


@torch.inference_mode()
def write_golden(folder: Path, config: ModelConfig, prompt_lengths: tuple[int, ...]) -> Path:
    """A folder in the layout of `showo2_tiny`."""
    folder.mkdir()
    model = Showo2(config).eval()
    spread_like_golden(model)
    stored = {published_name(name): tensor.bfloat16().clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict({name: tensor.bfloat16().float() for name, tensor in model.state_dict().items()})
    generator = torch.Generator().manual_seed(12)

    def tokens(count: int) -> list[int]:
        return torch.randint(10, VOCABULARY, (count,), generator=generator).tolist()

    prompts = [tokens(length) for length in prompt_lengths]
    rows, columns = config.grids[0]
    shape = (config.latent_channels, 2 * rows, 2 * columns)
    noise = torch.randn(len(prompts), *shape, generator=generator)
    # Rows of one step may be at different times.
    times = torch.rand(2 * len(prompts), generator=generator)
    oracle = Oracle(model, prompts)
    expected = {
        "forward.noise": noise,
        "forward.t": times,
        "forward.velocity": oracle.velocities(noise, times),
    }
    expected["sample50.t"], expected["sample50.latents"] = oracle.sample(noise, 50, 5.0)
    _, expected["sample8.latents"] = oracle.sample(noise, 8, 7.5)

    prefix = [IDS["bos"], *tokens(4)]
    vqa = {"prefix": prefix, "suffix": [IDS["boi"], IDS["eoi"], *tokens(6)]}
    time = len(prefix) + 1
    vqa |= {"modality_offset": time + 1, "modality_length": oracle.block, "trained_block_offset": time}
    latents = torch.randn(1, *shape, generator=generator)
    forced = torch.tensor(tokens(5))
    expected |= {"vqa.latents": latents, "vqa.image_embeds": model.vision(latents), "vqa.forced_tokens": forced}
    for name, offset in (("vqa", time + 1), ("vqa_trained_block", time)):
        found = oracle.answer(latents, vqa, offset, forced, 7)
        expected |= {f"{name}.{part}": tensor for part, tensor in found.items()}

    length = len(oracle.rows()[0]) + oracle.block + 7
    scores = oracle.importances(length)
    count = max(int(0.8 * config.backbone.ffn_size) // 64, 1) * 64
    kept = [torch.argsort(row, descending=True, stable=True)[:count].sort().values for row in scores]
    forced = {1: [1], 11: [0], 21: [2]}
    velocities, final = oracle.flashu(noise[:1], kept, forced, base=10.0)
    expected |= {"flashu.velocities": velocities, "flashu.latents": final}
    for layer, (row, neurons) in enumerate(zip(scores, kept, strict=True)):
        expected[f"wanda.model.layers.{layer}.mlp.down_proj"] = row
        expected[f"wanda.keep.{layer}"] = neurons.int()
    settings = {
        "r_p": 0.2,
        "r_LS": 0.34,
        "T_LS": 10,
        "T_cache": 5,
        "tau_steps": 11,
        "guidance": [[24, 7.5], [11, 10.0]],
    }
    run = {"steps": 35, "recalculated": [[at, layers] for at, layers in forced.items()], "config": settings}
    meta = {"config": model_config_to_json(config), "ids": IDS, "prompts": prompts, "vqa": vqa}
    meta |= {"seq_len": length, "flashu": run}
    (folder / "meta.json").write_text(json.dumps(meta))
    save_file(stored, folder / "model.safetensors")
    save_file({name: tensor.clone().contiguous() for name, tensor in expected.items()}, folder / "expected.safetensors")
    return folder


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A golden folder for each of `VARIANTS`."""
    return write_golden(tmp_path / "variant", *VARIANTS[request.param])


@pytest.fixture(scope="session")
def small_golden() -> Path:
    """The copied golden data of the original code."""
    return Path(__file__).parents[1] / "data" / "golden"


@pytest.fixture
def small_copy(tmp_path: Path, small_golden: Path) -> Callable[[str], Path]:
    """Copies one golden folder to where a test may damage it."""

    def copy(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for file in (small_golden / name).iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        return folder

    return copy
