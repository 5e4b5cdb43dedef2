"""What many tests share: a small random model in float32, and the embedded one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from flashu_core import Engine, EngineConfig
from flashu_core.checkpoint import Checkpoint
from flashu_core.config import MODELS, WAN_VAE
from flashu_core.model.showo2 import Showo2
from flashu_core.model.vae import Vae
from flashu_core.tokenizer import Tokenizer
from shapes.tokenizer import build_tokenizer

# Tests run in parallel on few cores: a thread each is fastest. Random weights meet denormals, which are slow.
torch.set_num_threads(1)
torch.set_flush_denormal(True)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return build_tokenizer(lines=500)


@pytest.fixture(scope="session")
def tiny(tokenizer: Tokenizer) -> Checkpoint:
    """A random Show-o2 of the size `tiny`, in float32."""
    torch.manual_seed(0)
    model = Showo2(replace(MODELS["tiny"], points=8)).requires_grad_(False).eval()
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
