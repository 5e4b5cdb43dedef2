"""What many tests share: a small random model in float32, the embedded one, and a checkpoint as others publish it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

# Kernels of a GPU run by Triton's interpreter, which must be set before anything imports it.
os.environ.setdefault("TRITON_INTERPRET", "1")

import torch
from torch import Tensor

from flashu_core import Engine, EngineConfig
from flashu_core.checkpoint.config_json import model_config_to_json
from flashu_core.checkpoint.load import Checkpoint, load_checkpoint
from flashu_core.checkpoint.weights import published_name
from flashu_core.config import MODELS, WAN_VAE, ModelConfig
from flashu_core.model.showo2 import Showo2
from flashu_core.model.vae import Vae
from flashu_core.text.tokenizer import Tokenizer
from shapes.tokenizer import build_tokenizer

# Tests run in parallel on few cores: a thread each is fastest, also of commands that choose theirs. Random weights
# meet denormals, which are slow.
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(1)
torch.set_flush_denormal(True)


@pytest.fixture(scope="session")
def program() -> Callable[[str], str]:
    """Where a program is that no package of Python brings; a test that needs it is skipped where it is missing, but for
    CI, which installs them all."""

    def find(name: str) -> str:
        found = shutil.which(name)
        if found is None:
            words = f"{name} is missing; install it (Debian: apt-get install {name})"
            if os.environ.get("CI"):
                pytest.fail(words)
            pytest.skip(words)
        return found

    return find


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return build_tokenizer(lines=500)


@pytest.fixture(scope="session")
def tiny(tokenizer: Tokenizer) -> Checkpoint:
    """A random Show-o2 of the size `tiny`, in float32."""
    torch.manual_seed(0)
    model = Showo2(replace(MODELS["tiny"], num_inference_steps=8)).requires_grad_(False).eval()
    # At unit scale a tied embedding makes each token predict itself.
    torch.nn.init.normal_(model.backbone.embed_tokens.weight, std=0.1)
    vae = Vae(replace(WAN_VAE, width=8)).requires_grad_(False).eval()
    return Checkpoint(name="tiny", model=model, vae=vae, tokenizer=tokenizer, digest="random")


@pytest.fixture
def tiny_engine(tiny: Checkpoint) -> Engine:
    return Engine(tiny, EngineConfig())


@pytest.fixture(scope="session")
def embedded() -> Engine:
    """The model that ships with the package. Tests that use it finish what they begin."""
    return Engine.load(None, EngineConfig(dtype="float32"))


@dataclass(frozen=True)
class Published:
    """A folder in the published layout, and what is in it."""

    folder: Path
    weights: dict[str, Tensor]
    vae: Vae

    def load(self, **options: Any) -> Checkpoint:
        return load_checkpoint(self.folder, **options)

    def rewrite(self, change: Callable[[dict[str, Tensor]], object]) -> None:
        """Writes the single file again with other weights."""
        weights = dict(self.weights)
        change(weights)
        torch.save(weights, self.folder / "pytorch_model.bin")

    def assert_loaded(self, checkpoint: Checkpoint) -> None:
        """That the checkpoint holds what was published, under its own names."""
        own = dict(checkpoint.model.named_parameters())
        assert {published_name(name) for name in own} == set(self.weights)
        for name, parameter in own.items():
            assert torch.equal(parameter, self.weights[published_name(name)]), name
        for name, tensor in self.vae.state_dict().items():
            assert torch.equal(checkpoint.vae.state_dict()[name], tensor), name

    def vae_tensors(self) -> dict[str, Tensor]:
        """What is in the autoencoder's file."""
        return _published_vae(self.vae)


def _published_vae(vae: Vae) -> dict[str, Tensor]:
    """A video autoencoder's tensors, whose last time taps are the image autoencoder's."""
    tensors = {}
    for name, tensor in vae.state_dict().items():
        if name.endswith(".gamma") and ".middle.1." not in name and not name.startswith("middle.1."):
            tensor = tensor[..., None]
        elif tensor.dim() == 4 and ".resample." not in name and ".middle.1." not in name:
            taps = 3 if tensor.shape[-1] == 3 else 1
            tensor = torch.cat([torch.randn_like(tensor)[:, :, None]] * (taps - 1) + [tensor[:, :, None]], dim=2)
        tensors[name] = tensor.clone()
    tensors["encoder.downsamples.5.time_conv.weight"] = torch.randn(8, 8, 3, 1, 1)
    tensors["encoder.downsamples.5.time_conv.bias"] = torch.randn(8)
    return tensors


def _publish(folder: Path, tokenizer: Tokenizer, config: ModelConfig = MODELS["tiny"]) -> Published:
    """Writes the published layout: the language model in a folder of its own, one weights file."""
    torch.manual_seed(0)
    model, vae = Showo2(config), Vae(replace(WAN_VAE, width=4))
    weights = {published_name(name): parameter.data.clone() for name, parameter in model.named_parameters()}
    language = folder.parent / "language"
    language.mkdir(parents=True)
    folder.mkdir()
    raw = model_config_to_json(config)
    raw["llm_model_path"] = str(language)
    (language / "config.json").write_text(json.dumps(raw.pop("llm_config")))
    (folder / "config.json").write_text(json.dumps(raw))
    tokenizer.save(language)
    torch.save(weights, folder / "pytorch_model.bin")
    torch.save(_published_vae(vae), folder / "Wan2.1_VAE.pth")
    return Published(folder, weights, vae)


@pytest.fixture(scope="session")
def publish() -> Callable[..., Published]:
    return _publish


@pytest.fixture(scope="session")
def _template(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Published:
    return _publish(tmp_path_factory.mktemp("published") / "model", tokenizer)


@pytest.fixture
def published(tmp_path: Path, _template: Published) -> Published:
    """A copy that a test may damage."""
    shutil.copytree(_template.folder.parent, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"llm_model_path": str(tmp_path / "language")}))
    return replace(_template, folder=tmp_path / "model")
