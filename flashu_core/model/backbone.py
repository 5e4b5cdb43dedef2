"""The Qwen2 decoder that reads text and image tokens alike, computing only what follows the caches."""

from __future__ import annotations

from torch import Tensor, nn

from flashu_core.config import BackboneConfig
from flashu_core.model.ffn import GatedFFN
from flashu_core.model.self_attention import Context, SelfAttention


class DecoderLayer(nn.Module):
    """Attention and FFN, each on its normed input beside a shortcut."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.self_attn = SelfAttention(width, config.heads, config.key_value_heads, bias=True)
        self.mlp = GatedFFN(width, config.ffn_size)
        self.input_layernorm = nn.RMSNorm(width, eps=config.norm_eps)
        self.post_attention_layernorm = nn.RMSNorm(width, eps=config.norm_eps)

    def forward(self, x: Tensor, layer: int, context: Context) -> Tensor:  # (R, L, width)
        x = x + self.self_attn(self.input_layernorm(x), layer, context)
        return x + self.mlp(self.post_attention_layernorm(x))


class Backbone(nn.Module):
    """Embeddings, layers, final norm and language head. Upstream: Qwen2ForCausalLM."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocabulary, config.hidden_size)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.norm_eps)
        self.lm_head = nn.Linear(config.hidden_size, config.vocabulary, bias=False)
        if config.tied_embeddings:
            self.lm_head.weight = self.embed_tokens.weight

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """Embedded tokens (R, L, width) to hidden states after the final norm, (R, L, width)."""
        for index, layer in enumerate(self.layers):
            x = layer(x, index, context)
        return self.norm(x)
