"""Makes the embedded model's tokenizer: a byte-level BPE in which every word of the world is one token."""

from __future__ import annotations

from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

from flashu_core.text.tokenizer import Tokenizer
from shapes.land.vocabulary import corpus, words
from shapes.seeds import training_rng

_SPECIAL = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    *("<|vision_start|>", "<|vision_end|>", "<|image_pad|>"),
)
_TEMPLATE = "system\nYou are a helpful assistant.\n\nuser\n\nassistant\n"


def build_tokenizer(size: int = 640, lines: int = 4000) -> Tokenizer:
    """Trains it on the training scenes' text; anything else falls back to pieces and bytes."""
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size - 4,  # the four tokens that Show-o2 adds to any vocabulary
        special_tokens=[AddedToken(token, special=True) for token in _SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    text = [*corpus(training_rng(0), lines), *words(), *(f" {word}" for word in words()), *[_TEMPLATE] * 50]
    backend.train_from_iterator(text, trainer)
    return Tokenizer(backend)
