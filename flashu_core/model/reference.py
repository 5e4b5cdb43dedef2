"""The slow, obvious Show-o2: every position of every sequence, with the omni mask, and logits for all.

The engine is tested against it, the speed benchmark calls it the reference loop, and the embedded model is trained with
it. It uses the modules' weights and no caches.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from flashu_core.model.attention import rotary, rotate
from flashu_core.model.backbone import DecoderLayer
from flashu_core.model.head import HeadBlock, modulate, velocity_to_latents
from flashu_core.model.self_attention import SelfAttention
from flashu_core.model.showo2 import Showo2


def omni_mask(length: int, blocks: Sequence[tuple[int, int] | None], device: torch.device) -> Tensor:
    """The attention mask: causal, and full within each row's image block.

    Args:
        length: positions of a sequence.
        blocks: for each row the (offset, length) of its image block, or None.

    Returns:
        (B, 1, length, length), True where the query (third axis) attends to the key (fourth).
    """
    mask = torch.ones(len(blocks), 1, length, length, dtype=torch.bool, device=device).tril()
    for row, block in enumerate(blocks):
        if block is not None:
            offset, size = block
            mask[row, :, offset : offset + size, offset : offset + size] = True
    return mask


def _mix(attention: SelfAttention, x: Tensor, cosine: Tensor, sine: Tensor, mask: Tensor) -> Tensor:
    query, key, value = attention.project(x)
    query, key = rotate(query, cosine, sine).transpose(1, 2), rotate(key, cosine, sine).transpose(1, 2)
    value = value.transpose(1, 2)
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return attention.o_proj(mixed.transpose(1, 2).flatten(2))


def hidden_states(model: Showo2, embeddings: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
    """Embeddings (B, S, width) through every layer and the final norm."""
    backbone = model.backbone
    config = backbone.config
    x = embeddings
    cosine, sine = rotary(positions, config.hidden_size // config.heads, config.rope_theta, None, x.dtype)
    for layer in backbone.layers:
        assert isinstance(layer, DecoderLayer)
        x = x + _mix(layer.self_attn, layer.input_layernorm(x), cosine, sine, mask)
        x = x + layer.mlp(layer.post_attention_layernorm(x))
    return backbone.norm(x)


def head_states(model: Showo2, hidden: Tensor, time: Tensor, image: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
    """Hidden states (B, S, width) through the head's blocks; `image` (B, S) marks the positions that are modulated."""
    config = model.head.config
    x = model.head.diff_proj(hidden)
    size = config.hidden_size // config.heads
    cosine, sine = rotary(positions, size, config.rope_theta, config.rope_scaling, x.dtype)
    inside = image[..., None]
    for block in model.head.blocks:
        assert isinstance(block, HeadBlock)
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = block.adaLN_modulation(time)[:, None].chunk(6, dim=-1)
        normed = block.input_layernorm(x)
        normed = torch.where(inside, modulate(normed, shift, scale), normed)
        x = x + torch.where(inside, gate, 1.0).to(x.dtype) * _mix(block.self_attn, normed, cosine, sine, mask)
        normed = block.post_attention_layernorm(x)
        normed = torch.where(inside, modulate(normed, ffn_shift, ffn_scale), normed)
        x = x + torch.where(inside, ffn_gate, 1.0).to(x.dtype) * block.mlp(normed)
    return x


def place(embeddings: Tensor, inserts: Tensor, offsets: Sequence[int]) -> Tensor:
    """A copy of embeddings (B, S, width) with each row's insert (B, M, width) at its offset."""
    rows = []
    for row, offset in enumerate(offsets):
        before, after = embeddings[row, :offset], embeddings[row, offset + inserts.shape[1] :]
        rows.append(torch.cat([before, inserts[row].to(embeddings.dtype), after]))
    return torch.stack(rows)


def velocities(
    model: Showo2, ids: Tensor, offsets: Sequence[int], latents: Tensor, times: Tensor, *, with_logits: bool = False
) -> Tensor:
    """Velocities of one denoising step, computed as the original code does.

    Args:
        model: whose weights are used.
        ids: (B, S) whole padded sequences; ids within the image block are ignored.
        offsets: where each row's block (time token first) starts.
        latents: (B, C, H, W).
        times: (B,).
        with_logits: also compute the logits of every position, unused, as the original does.

    Returns:
        Velocities (B, C, H, W) in float32.
    """
    config = model.config
    grid = (latents.shape[-2] // config.patch_size, latents.shape[-1] // config.patch_size)
    time, token = model.time_tokens(times)
    block = model.image_block(model.vision(latents), token)
    size = block.shape[1]
    embeddings = place(model.backbone.embed_tokens(ids), block, offsets)
    positions = torch.arange(ids.shape[1], device=ids.device).expand(ids.shape)
    mask = omni_mask(ids.shape[1], [(offset, size) for offset in offsets], ids.device)
    hidden = hidden_states(model, embeddings, mask, positions)
    if with_logits:
        model.logits(hidden)
    starts = torch.tensor(offsets, device=ids.device)[:, None]
    image = (positions >= starts) & (positions < starts + size)
    state = head_states(model, hidden, time, image, mask, positions)
    tokens = torch.stack(
        [row[offset + config.block_extra : offset + size] for row, offset in zip(state, offsets, strict=True)]
    )
    return velocity_to_latents(model.head.final(tokens, time).float(), *grid, config.patch_size, config.velocity_layout)


def answer_logits(model: Showo2, embeddings: Tensor, block: tuple[int, int]) -> Tensor:
    """Logits (B, S, vocabulary) of whole embedded sequences (B, S, width) that share one image block."""
    batch, length, _ = embeddings.shape
    positions = torch.arange(length, device=embeddings.device).expand(batch, length)
    mask = omni_mask(length, [block] * batch, embeddings.device)
    return model.logits(hidden_states(model, embeddings, mask, positions))
