"""The backbone is the Qwen2 of `transformers`, and the tokenizer's files are read as its tokenizers read them."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

from benchmarks.random_weights import random_module
from flashu_core.config import MODELS
from flashu_core.model.showo2 import Showo2
from flashu_core.text.tokenizer import Tokenizer

IDS = [[5, 17, 60, 3, 99, 41, 2], [7] * 12, [0]]


@pytest.mark.parametrize("ids", IDS, ids=len)
@torch.inference_mode()
def test_logits_are_those_of_qwen2(ids: list[int]) -> None:
    config = MODELS["tiny"]
    backbone = config.backbone
    theirs = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=backbone.vocabulary,
            hidden_size=backbone.hidden_size,
            intermediate_size=backbone.ffn_size,
            num_hidden_layers=backbone.layers,
            num_attention_heads=backbone.heads,
            num_key_value_heads=backbone.key_value_heads,
            rms_norm_eps=backbone.norm_eps,
            rope_parameters={"rope_type": "default", "rope_theta": backbone.rope_theta},
            tie_word_embeddings=backbone.tied_embeddings,
        )
    ).eval()
    ours = random_module(lambda: Showo2(config), dtype=torch.float32, seed=3)
    weights = ours.backbone.state_dict()
    named = {name if name.startswith("lm_head") else f"model.{name}": tensor for name, tensor in weights.items()}
    theirs.load_state_dict(named)
    cache = ours.backbone_cache(1, len(ids))
    hidden, _ = ours.run_backbone(ours.embed(ids), [cache], block=0)
    expected = theirs(torch.tensor([ids])).logits
    torch.testing.assert_close(ours.logits(hidden), expected, rtol=1e-4, atol=1e-4)


def test_text_becomes_the_tokens_that_transformers_finds() -> None:
    folder = Path(str(files("flashu_core"))) / "assets" / "shapes-64"
    theirs, ours = AutoTokenizer.from_pretrained(folder), Tokenizer.from_folder(folder)
    for text in ("a large red circle left of a small blue square", "  Gr\u00fcn? \U0001f600\n", ""):
        tokens = ours.encode(text)
        assert tokens == theirs.encode(text, add_special_tokens=False)
        assert ours.decode(tokens) == theirs.decode(tokens)
