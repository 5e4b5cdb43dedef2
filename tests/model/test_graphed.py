"""The passes that a GPU runs, here on a CPU: the same buffers, pools and padding, but nothing is captured."""

from __future__ import annotations

import pytest
import torch

from benchmarks import loops
from benchmarks.random_weights import random_module
from flashu_core.acceleration.plan import make_schedule
from flashu_core.acceleration.policies import POLICIES, GenerationPolicy, UnderstandingPolicy
from flashu_core.config import MODELS
from flashu_core.model import sampler
from flashu_core.model.graphed import GraphedPasses, padded_length
from flashu_core.model.kv_pool import PooledCache
from flashu_core.model.showo2 import Showo2
from flashu_core.pathways import generate, understand
from flashu_core.timing import Spans

CPU = torch.device("cpu")
CONFIG = MODELS["tiny"]
POLICIES = {
    "exact": GenerationPolicy(),
    "flashu": POLICIES["flashu"].generate,
    "skipping": GenerationPolicy(skip_ratio=0.5, skip_interval=3, hybrid_threshold=0.2),
}
ANSWERED = {
    "exact": UnderstandingPolicy(),
    "flashu": UnderstandingPolicy(ffn_ratio=0.25, skip_ratio=0.5, token_ratio=0.5),
}


def build() -> Showo2:
    return random_module(lambda: Showo2(CONFIG), dtype=torch.float32)


@pytest.fixture(scope="module")
def plain() -> Showo2:
    return build()


@pytest.fixture
def graphed() -> Showo2:
    model = build()
    model.graphs = GraphedPasses(model, positions=4096)
    return model


def begin(
    model: Showo2, policy: GenerationPolicy, *, tokens: int = 9, images: int = 1, seed: int = 1
) -> generate.Generation:
    num_inference_steps = 12
    return generate.begin(
        model,
        cond=generate.Prompt(loops.example_ids(model, tokens, seed)),
        uncond=generate.Prompt(loops.example_ids(model, 5, 2)),
        noise=sampler.noise(seed, loops.latent_shape(CONFIG, images)),
        schedule=make_schedule(policy.techniques, num_inference_steps=num_inference_steps, guidance_scale=4.0),
        times=sampler.time_grid(num_inference_steps, 3.0),
        pruned=loops.pruned_path(CONFIG, policy.ffn_ratio),
    )


def generated(model: Showo2, policy: GenerationPolicy, *, images: int = 1) -> torch.Tensor:
    state = begin(model, policy, images=images)
    while not state.done:
        generate.advance(model, [state], Spans(CPU))
    return state.latents


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("policy", POLICIES)
def test_a_picture_is_the_same(plain: Showo2, graphed: Showo2, policy: str, images: int) -> None:
    wanted = generated(plain, POLICIES[policy], images=images)
    torch.testing.assert_close(generated(graphed, POLICIES[policy], images=images), wanted, atol=1e-4, rtol=1e-4)


def test_pictures_that_leave_out_different_layers_share_a_pass(plain: Showo2, graphed: Showo2) -> None:
    def together(model: Showo2) -> list[torch.Tensor]:
        policy = POLICIES["skipping"]
        states = [begin(model, policy, tokens=tokens, seed=tokens) for tokens in (7, 40)]
        for number, state in enumerate(states):
            generate.advance(model, [state], Spans(CPU))
            state.skipped = frozenset({number, number + 1})
        while not states[0].done:
            generate.advance(model, states, Spans(CPU))
        return [state.latents for state in states]

    for found, wanted in zip(together(graphed), together(plain), strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("policy", ANSWERED)
def test_an_answer_is_the_same(plain: Showo2, graphed: Showo2, policy: str) -> None:
    def logits(model: Showo2) -> list[torch.Tensor]:
        question = loops.example_question(model, question_tokens=11)
        system, found = loops.read_system(model, question), []
        state = loops.begin_answer(model, question, system, ANSWERED[policy], tokens=16, spans=Spans(CPU))
        while not state.done:
            found.append(state.logits)
            understand.advance(model, [state], Spans(CPU))
        return found

    with torch.inference_mode():
        for found, wanted in zip(logits(graphed), logits(plain), strict=True):
            torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


def test_answers_are_decoded_together_as_alone(graphed: Showo2) -> None:
    def answers(together: bool) -> list[list[int]]:
        states = []
        for tokens in (5, 20):
            question = loops.example_question(graphed, question_tokens=tokens)
            system = loops.read_system(graphed, question)
            states.append(
                loops.begin_answer(graphed, question, system, UnderstandingPolicy(), tokens=8, spans=Spans(CPU))
            )
        while not states[0].done:
            for batch in [states] if together else [[state] for state in states]:
                understand.advance(graphed, batch, Spans(CPU))
        return [state.tokens for state in states]

    with torch.inference_mode():
        assert answers(True) == answers(False)


def test_weights_stay_one_copy(graphed: Showo2) -> None:
    layer = graphed.backbone.layers[0]
    joined = graphed.graphs._layers[0] if graphed.graphs else None  # type: ignore[attr-defined]
    assert joined is not None
    attention = layer.self_attn  # type: ignore[union-attr]
    storages = {part.weight.untyped_storage().data_ptr() for part in (attention.q_proj, attention.v_proj)}  # type: ignore[union-attr]
    assert storages == {joined._attention.weight.untyped_storage().data_ptr()}
    wanted = sum(one.nbytes for one in build().parameters())
    assert sum(one.nbytes for one in graphed.parameters()) == wanted


def test_a_cache_outside_the_pool_takes_the_plain_way(plain: Showo2) -> None:
    model = build()
    model.graphs = GraphedPasses(model, positions=64)  # the prompts fit, their branches do not
    assert not isinstance(model.backbone_cache(2, 1000), PooledCache)
    torch.testing.assert_close(
        generated(model, POLICIES["exact"]), generated(plain, POLICIES["exact"]), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize(
    ("length", "block", "padded"), [(730, 730, 730), (1, 0, 1), (2, 0, 32), (64, 0, 64), (65, 0, 96), (800, 730, 826)]
)
def test_lengths_are_few(length: int, block: int, padded: int) -> None:
    assert padded_length(length, block) == padded


def test_a_shape_that_was_dropped_gets_graphs_of_its_own(graphed: Showo2) -> None:
    assert graphed.graphs is not None
    stack = graphed.graphs.backbone
    stack._passes.limit = 2
    caches = [cache for cache in (graphed.backbone_cache(1, 8),) if isinstance(cache, PooledCache)]
    first = stack.begin(caches, 1, 0)
    assert stack.begin(caches, 1, 0).key == first.key
    for length in (32, 64):
        stack.begin(caches, length, 0)
    assert stack.begin(caches, 1, 0).key != first.key
