"""The Qwen2 decoder, over text and image tokens alike; it computes only the positions that follow the KV caches."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from flashu_core.config import BackboneConfig
from flashu_core.model.embedding import Embedding
from flashu_core.model.ffn import GatedFFN
from flashu_core.model.kv_cache import KeyValueCache
from flashu_core.model.pass_options import Drop, Neurons, PassOptions, Trace
from flashu_core.model.projection import Projection
from flashu_core.model.self_attention import Context, SelfAttention, following


class DecoderLayer(nn.Module):
    """Attention and FFN, each pre-norm with a residual connection."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.self_attn = SelfAttention(width, config.heads, config.key_value_heads, bias=True)
        self.mlp = GatedFFN(width, config.ffn_size)
        self.input_layernorm = nn.RMSNorm(width, eps=config.norm_eps)
        self.post_attention_layernorm = nn.RMSNorm(width, eps=config.norm_eps)

    def forward(self, x: Tensor, layer: int, context: Context, neurons: Neurons = None, first: int = 0) -> Tensor:
        """(R, L, width) to (R, L - first, width)."""
        x = following(x, first) + self.self_attn(self.input_layernorm(x), layer, context, first)
        return x + self.mlp(self.post_attention_layernorm(x), neurons)


class Backbone(nn.Module):
    """Embeddings, layers, final norm and language head. Upstream: Qwen2ForCausalLM."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = Embedding(config.vocabulary, config.hidden_size)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.norm_eps)
        self.lm_head = Projection(config.hidden_size, config.vocabulary, bias=False)
        if config.tied_embeddings:
            self.lm_head.weight = self.embed_tokens.weight

    def forward(self, x: Tensor, context: Context, options: PassOptions) -> tuple[Tensor, Trace]:
        """Embedded tokens (R, L, width) to hidden states after the final norm, and the pass's trace.

        Returns:
            (R, L, width); L is smaller where tokens were dropped or only the last positions are read.
        """
        trace = Trace()
        last = len(self.layers) - 1
        for index, layer in enumerate(self.layers):
            before = x
            first = max(x.shape[1] - options.read, 0) if options.read is not None and index == last else 0
            groups = [group for group, skipped in enumerate(options.skipped) if index in skipped]
            neurons = None if options.neurons is None else options.neurons[index]
            x = following(x, first)
            if not groups:
                x = layer(before, index, context, neurons, first)
            elif len(groups) < len(options.skipped):
                # The layer runs for the rows that do not skip it.
                rows, own = context.without(groups)
                x = x.index_copy(0, rows, layer(before[rows], index, own, neurons, first))
            if options.measured is not None:
                trace.similarity.append(similarity(before[:, options.measured], x[:, options.measured]))
            if options.drop is not None and index + 1 == options.drop.layer and index < last:
                trace.kept = smallest_values(options.drop, context.caches[0], index, x.shape[1])
                x, context = x[:, trace.kept], context.at(trace.kept, options.drop)
        return self.norm(x), trace


def similarity(before: Tensor, after: Tensor) -> Tensor:
    """Mean cosine similarity of a layer's input and output (R, L, width) over positions, (R,) in float32."""
    return functional.cosine_similarity(before.float(), after.float(), dim=-1).mean(dim=1)


def smallest_values(drop: Drop, cache: KeyValueCache, layer: int, length: int) -> Tensor:
    """Positions of the pass to keep: all but the image tokens whose value vectors, over all heads, have the largest
    norms."""
    start = cache.length - cache.dropped[layer]
    values = cache.values[layer][0, :, start : start + length].float()  # (heads, L, head width)
    norms = values.square().sum(dim=(0, 2))[drop.tokens]
    kept = norms.topk(drop.keep, largest=False).indices.sort().values + drop.tokens.start
    index = torch.arange(length, device=kept.device)
    return torch.cat([index[: drop.tokens.start], kept, index[drop.tokens.stop :]])
