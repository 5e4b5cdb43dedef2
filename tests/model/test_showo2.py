"""The engine's passes against the slow reference on random weights."""

from __future__ import annotations

from dataclasses import replace

import flop_counter
import pytest
import torch
from torch import Tensor

from benchmarks.random_weights import random_module
from flashu_core.config import MODELS, ModelConfig
from flashu_core.model import reference
from flashu_core.model.kv_cache import KeyValueCache
from flashu_core.model.pass_options import Drop, PassOptions
from flashu_core.model.showo2 import Showo2

TINY = MODELS["tiny"]
TEXTS = ([1, 40, 41, 42, 43, 3], [1, 50, 3], [1, 60, 61, 62, 63, 64, 65, 66, 67, 3])
TIMES = torch.tensor([0.0, 0.35, 0.9])


def build(config: ModelConfig) -> Showo2:
    return random_module(lambda: Showo2(config), dtype=torch.float32, seed=3)


def noise(config: ModelConfig, rows: int) -> Tensor:
    height, width = (side * config.patch_size for side in config.grids[0])
    return torch.randn(rows, config.latent_channels, height, width, generator=torch.Generator().manual_seed(4))


def prefix(model: Showo2, ids: list[int]) -> tuple[KeyValueCache, KeyValueCache]:
    """A text in both caches, with room for an image block."""
    rows, columns = model.config.grids[0]
    capacity = len(ids) + rows * columns + 1
    caches = model.backbone_cache(1, capacity), model.head_cache(1, capacity)
    hidden, _ = model.run_backbone(model.embed(ids), [caches[0]], block=0)
    model.run_head(hidden, None, [caches[1]], block=0)
    for cache in caches:
        cache.keep(len(ids))
    return caches


@torch.inference_mode()
def evaluate(model: Showo2, texts: list[list[int]], latents: Tensor, times: Tensor) -> Tensor:
    """Velocities with the texts from caches, all rows in one pass."""
    caches = [prefix(model, ids) for ids in texts]
    time, token = model.time_tokens(times)
    block = model.image_block(model.vision(latents), token)
    size = block.shape[1]
    hidden, _ = model.run_backbone(block, [backbone for backbone, _ in caches], block=size)
    state = model.run_head(hidden, time, [head for _, head in caches], block=size)
    return model.velocity(state, time, model.config.grids[0])


@torch.inference_mode()
def whole(model: Showo2, texts: list[list[int]], latents: Tensor, times: Tensor) -> Tensor:
    """The same by the reference: padded sequences, text, picture and what follows it."""
    rows, columns = model.config.grids[0]
    block = rows * columns + model.config.block_extra
    length = max(map(len, texts)) + block + 5
    ids = torch.tensor([[*text, *[6] * block, 4, 2, *[5] * length][:length] for text in texts])
    return reference.velocities(model, ids, [len(text) for text in texts], latents, times)


CONFIGS = {
    "tiny": TINY,
    "no time token": replace(TINY, time_token=False),
    "patches in their places": replace(TINY, velocity_layout="patches"),
    "oblong": replace(TINY, grids=((2, 5),)),
    "untied": replace(TINY, backbone=replace(TINY.backbone, tied_embeddings=False)),
    "plain positions in the head": replace(TINY, head=replace(TINY.head, rope_scaling=None, query_key_norm=False)),
    "one width": replace(TINY, head=replace(TINY.head, hidden_size=64)),
    **{
        f"{shared} shared heads": replace(
            TINY,
            backbone=replace(TINY.backbone, key_value_heads=shared),
            head=replace(TINY.head, key_value_heads=shared),
        )
        for shared in (1, 4)
    },
}


@pytest.mark.parametrize("name", CONFIGS)
def test_cached_texts_give_the_velocities_of_whole_sequences(name: str) -> None:
    model = build(CONFIGS[name])
    latents = noise(model.config, len(TEXTS))
    found = evaluate(model, list(TEXTS), latents, TIMES)
    expected = whole(model, list(TEXTS), latents, TIMES)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)


def test_prompts_in_a_batch_do_not_touch_each_other() -> None:
    model = build(TINY)
    latents = noise(TINY, len(TEXTS))
    together = evaluate(model, list(TEXTS), latents, TIMES)
    for row, text in enumerate(TEXTS):
        alone = evaluate(model, [text], latents[row : row + 1], TIMES[row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-5, rtol=0)


def test_text_and_time_matter() -> None:
    model = build(TINY)
    latents = noise(TINY, 1)
    base = evaluate(model, [TEXTS[0]], latents, TIMES[:1])
    assert (base - evaluate(model, [TEXTS[1]], latents, TIMES[:1])).abs().max() > 1e-2
    assert (base - evaluate(model, [TEXTS[0]], latents, TIMES[1:2])).abs().max() > 1e-2


def test_a_denoising_step_does_not_change_the_text() -> None:
    model = build(TINY)
    with torch.inference_mode():
        backbone, _ = prefix(model, TEXTS[0])
        kept = [keys[:, :, : len(TEXTS[0])].clone() for keys in backbone.keys]
        picture = torch.randn(1, 17, 64)
        first, _ = model.run_backbone(picture, [backbone], block=17)
        again, _ = model.run_backbone(picture, [backbone], block=17)
    assert torch.equal(first, again)
    assert backbone.length == len(TEXTS[0])
    for keys, before in zip(backbone.keys, kept, strict=True):
        assert torch.equal(keys[:, :, : len(TEXTS[0])], before)


@pytest.mark.parametrize("block", [0, 5, 9])
def test_a_sequence_read_in_pieces_is_the_whole_sequence(block: int) -> None:
    """Text before, a block of full attention, text after, then token by token."""
    model = build(TINY)
    embeddings = torch.randn(1, 20, 64, generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        expected = reference.answer_logits(model, embeddings, (6, block))
        cache = model.backbone_cache(1, 20)
        found = []
        for start, end, full in ((0, 6, 0), (6, 16, block), *((at, at + 1, 0) for at in range(16, 20))):
            found.append(model.run_backbone(embeddings[:, start:end], [cache], block=full)[0])
            cache.keep(end - start)
    torch.testing.assert_close(model.logits(torch.cat(found, dim=1)), expected, atol=2e-5, rtol=0)


def test_a_token_cannot_see_what_follows() -> None:
    model = build(TINY)
    embeddings = torch.randn(1, 8, 64)
    with torch.inference_mode():
        first, _ = model.run_backbone(embeddings, [model.backbone_cache(1, 8)], block=0)
        embeddings[:, 5:] = 0
        second, _ = model.run_backbone(embeddings, [model.backbone_cache(1, 8)], block=0)
    assert torch.equal(first[:, :5], second[:, :5])
    assert not torch.equal(first[:, 5:], second[:, 5:])


@pytest.mark.parametrize("skipped", [frozenset(), frozenset({3}), frozenset({0, 3})])
@pytest.mark.parametrize(("read", "block"), [(1, 0), (1, 7), (3, 7), (5, 10), (10, 10)])
def test_what_is_read_and_what_is_kept_do_not_depend_on_what_else_is_read(
    read: int, block: int, skipped: frozenset[int]
) -> None:
    """Two sequences of different lengths, one of which leaves layers out."""
    model = build(replace(TINY, backbone=replace(TINY.backbone, layers=4)))
    embeddings = torch.randn(2, 10, 64, generator=torch.Generator().manual_seed(6))
    found = []
    for options in (
        PassOptions(skipped=(frozenset(), skipped), measured=slice(-1, None)),
        PassOptions(skipped=(frozenset(), skipped), measured=slice(-1, None), read=read),
    ):
        caches = [model.backbone_cache(1, 15), model.backbone_cache(1, 15)]
        with torch.inference_mode():
            model.run_backbone(embeddings[:1, :3], caches[:1], block=0)
            caches[0].keep(3)
            hidden, trace = model.run_backbone(embeddings, caches, block=block, options=options)
        for cache in caches:
            cache.keep(10)
        written = [keys[:, :, : caches[0].length] for keys in (*caches[0].keys, *caches[0].values)]
        found.append((hidden, torch.stack(trace.similarity), written))
    (hidden, similarity, written), (short, same, again) = found
    assert short.shape == (2, read, 64)
    torch.testing.assert_close(short, hidden[:, -read:], atol=1e-5, rtol=0)
    torch.testing.assert_close(same, similarity, atol=1e-6, rtol=0)
    for one, other in zip(written, again, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)


def test_tokens_dropped_behind_the_last_layer_are_nothing_to_what_is_read() -> None:
    model = build(TINY)
    embeddings = torch.randn(1, 10, 64, generator=torch.Generator().manual_seed(7))
    drop = Drop(layer=TINY.backbone.layers, tokens=slice(0, 6), keep=2)
    with torch.inference_mode():
        expected, _ = model.run_backbone(embeddings, [model.backbone_cache(1, 10)], block=6)
        found, _ = model.run_backbone(
            embeddings, [model.backbone_cache(1, 10)], block=6, options=PassOptions(drop=drop, read=1)
        )
    torch.testing.assert_close(found, expected[:, -1:], atol=1e-5, rtol=0)


def test_positions_that_nothing_reads_cost_a_last_layer_nothing_but_keys_and_values() -> None:
    config = MODELS["1.5b"].backbone
    model = flop_counter.meta_model(MODELS["1.5b"])
    tokens = torch.empty(1, 700, config.hidden_size, dtype=torch.bfloat16, device="meta")

    def run(read: int | None) -> int:
        return flop_counter.count(
            lambda: model.run_backbone(
                tokens, [model.backbone_cache(1, 700)], block=600, options=PassOptions(read=read)
            )
        )

    saved = run(None) - run(1)
    width, unread = config.hidden_size, 699
    products = 2 * unread * (2 * width * width + 3 * width * config.ffn_size)
    assert saved > products
    assert saved < products + 4 * 700 * 700 * width
