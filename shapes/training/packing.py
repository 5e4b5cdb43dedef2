"""The training forward of generation: several image blocks that share one text.

Text never sees the images after it, so blocks of different noise and time can follow the same text without seeing each
other. Text and blocks lie one after the other for everything but attention. The same values as `reference.py`, which
computes each block with a text of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from flashu_core.model.attention import rotary, rotate
from flashu_core.model.backbone import DecoderLayer
from flashu_core.model.head import HeadBlock, modulate
from flashu_core.model.self_attention import SelfAttention
from flashu_core.model.showo2 import Showo2


@dataclass(frozen=True, slots=True)
class Packing:
    """Where text (B, T) and blocks (B * D, N) are in a pack of tokens, and whom they see.

    Attributes:
        text, blocks: their shapes.
        text_mask: (B, 1, T, T).
        block_mask: (B * D, 1, 1, T + N).
        positions: (1, tokens) of all tokens of the pack.
    """

    text: tuple[int, int]
    blocks: tuple[int, int]
    text_mask: Tensor
    block_mask: Tensor
    positions: Tensor

    @staticmethod
    def of(lengths: Tensor, text: int, blocks: tuple[int, int]) -> Packing:
        """For prefixes of these lengths (B,), padded on the left to `text` tokens."""
        batch = lengths.shape[0]
        draws = blocks[0] // batch
        index = torch.arange(text, device=lengths.device)
        before = text - lengths[:, None]
        real = index >= before
        causal = index[:, None] >= index
        # What pads sees itself, so that no row of the mask is empty.
        alone = torch.eye(text, dtype=torch.bool, device=lengths.device)
        seen = real.repeat_interleave(draws, dim=0)
        own = torch.ones(blocks, dtype=torch.bool, device=lengths.device)
        inside = lengths.repeat_interleave(draws)[:, None] + torch.arange(blocks[1], device=lengths.device)
        positions = torch.cat([(index - before).clamp(min=0).flatten(), inside.flatten()])
        return Packing(
            (batch, text),
            blocks,
            ((causal & real[:, None]) | alone)[:, None],
            torch.cat([seen, own], dim=1)[:, None, None],
            positions[None],
        )

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """A pack (1, tokens, ...) as text (B, T, ...) and blocks (B * D, N, ...)."""
        count = self.text[0] * self.text[1]
        return x[0, :count].unflatten(0, self.text), x[0, count:].unflatten(0, self.blocks)

    def join(self, text: Tensor, blocks: Tensor) -> Tensor:
        """The counterpart of `split`."""
        return torch.cat([text.flatten(0, 1), blocks.flatten(0, 1)])[None]

    def mix(self, attention: SelfAttention, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """Attention of text among itself and of each block over its text and itself."""
        query, key, value = attention.project(x)
        query, key = rotate(query, cosine, sine), rotate(key, cosine, sine)
        groups = query.shape[2] // key.shape[2]
        (own_query, query), (text_key, key), (text_value, value) = map(self.split, (query, key, value))
        text = _attend(own_query, text_key, text_value, self.text_mask, groups)
        draws = self.blocks[0] // self.text[0]
        keys = torch.cat([text_key.repeat_interleave(draws, dim=0), key], dim=1)
        values = torch.cat([text_value.repeat_interleave(draws, dim=0), value], dim=1)
        blocks = _attend(query, keys, values, self.block_mask, groups)
        mixed: Tensor = attention.o_proj(self.join(text, blocks).flatten(2))
        return mixed


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, groups: int) -> Tensor:
    """(B, L, H, D) over keys and values (B, S, K, D)."""
    key, value = key.repeat_interleave(groups, dim=2), value.repeat_interleave(groups, dim=2)
    query, key, value = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2)


def packed_states(model: Showo2, text: Tensor, lengths: Tensor, blocks: Tensor, time: Tensor) -> Tensor:
    """The head's states of image blocks.

    Args:
        model: whose weights are used.
        text: (B, T, width) embedded prefixes, padded on the left.
        lengths: (B,) how many of their tokens count.
        blocks: (B * D, N, width), the D blocks of a text one after the other.
        time: (B * D, head width).

    Returns:
        (B * D, N, head width), before the final layer.
    """
    packing = Packing.of(lengths, text.shape[1], (blocks.shape[0], blocks.shape[1]))
    config, head = model.config.backbone, model.config.head
    x = packing.join(text, blocks)
    rotation = rotary(packing.positions, config.hidden_size // config.heads, config.rope_theta, None, x.dtype)
    for layer in model.backbone.layers:
        assert isinstance(layer, DecoderLayer)
        x = x + packing.mix(layer.self_attn, layer.input_layernorm(x), *rotation)
        x = x + layer.mlp(layer.post_attention_layernorm(x))
    x = model.head.diff_proj(model.backbone.norm(x))
    size = head.hidden_size // head.heads
    rotation = rotary(packing.positions, size, head.rope_theta, head.rope_scaling, x.dtype)
    for block in model.head.blocks:
        assert isinstance(block, HeadBlock)
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = block.adaLN_modulation(time)[:, None].chunk(6, dim=-1)
        own, image = packing.split(block.input_layernorm(x))
        own, image = packing.split(
            packing.mix(block.self_attn, packing.join(own, modulate(image, shift, scale)), *rotation)
        )
        x = x + packing.join(own, gate * image)
        own, image = packing.split(block.post_attention_layernorm(x))
        own, image = packing.split(block.mlp(packing.join(own, modulate(image, ffn_shift, ffn_scale))))
        x = x + packing.join(own, ffn_gate * image)
    return packing.split(x)[1]
