"""The time grid, guidance, the Euler step, noise and the sampling of tokens."""

from __future__ import annotations

import pytest
import torch

from flashu_core.model import sampler


@pytest.mark.parametrize("num_inference_steps", [2, 8, 50])
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_the_grid_goes_from_noise_to_data(num_inference_steps: int, shift: float) -> None:
    times = sampler.time_grid(num_inference_steps, shift)
    assert times.shape == (num_inference_steps,)
    assert (times[0], times[-1]) == (0, 1)
    assert (times.diff() > 0).all()


def test_the_grid_is_the_shifted_one() -> None:
    expected = [u / (u + 3 - 3 * u) for u in (0, 0.25, 0.5, 0.75, 1)]
    assert sampler.time_grid(5, 3.0).tolist() == pytest.approx(expected, abs=1e-7)
    assert sampler.time_grid(5, 1.0).tolist() == [0, 0.25, 0.5, 0.75, 1]


def test_guidance_extrapolates_from_uncond_through_cond() -> None:
    cond, uncond = torch.randn(2, 3, 4)
    torch.testing.assert_close(sampler.guide(cond, uncond, 0.0), uncond)
    torch.testing.assert_close(sampler.guide(cond, uncond, 1.0), cond)
    torch.testing.assert_close(sampler.guide(cond, uncond, 5.0), uncond + 5 * (cond - uncond))


def test_an_euler_step_follows_the_velocity() -> None:
    latents, velocity = torch.randn(2, 3, 4)
    torch.testing.assert_close(sampler.euler(latents, velocity, 0.25, 0.75), latents + velocity / 2)


def test_the_noise_is_the_seed_s() -> None:
    first, again, other = (sampler.noise(seed, (2, 100, 100)) for seed in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.std() == pytest.approx(1, abs=0.03)


def test_zero_temperature_takes_the_likeliest() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.tensor([0.0, 3.0, 2.9])
    sampled = {sampler.sample_token(logits, temperature=0.0, top_p=1.0, generator=generator) for _ in range(20)}
    assert sampled == {1}


@pytest.mark.parametrize(
    ("temperature", "top_p"), [(5e-324, 1.0), (1e-40, 1.0), (1e-300, 0.5), (1.0, 5e-324), (10.0, 1e-46), (1e-9, 1e-9)]
)
def test_the_smallest_numbers_take_the_likeliest_too(temperature: float, top_p: float) -> None:
    generator = torch.Generator().manual_seed(0)
    for logits in (torch.tensor([0.0, 3.0, 2.9]), torch.tensor([-1e30, 1e30, 0.0]), torch.tensor([-5.0, -4.0, -4.5])):
        sampled = {
            sampler.sample_token(logits, temperature=temperature, top_p=top_p, generator=generator) for _ in range(9)
        }
        assert sampled == {1}


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_and_infinite_logits_raise(bad: float, temperature: float) -> None:
    generator = torch.Generator().manual_seed(0)
    with pytest.raises(FloatingPointError, match="token 1"):
        sampler.sample_token(torch.tensor([0.0, bad, 3.0]), temperature=temperature, top_p=1.0, generator=generator)


def shares(logits: list[float], *, temperature: float, top_p: float, count: int = 4000) -> list[float]:
    """How often each token is sampled."""
    generator = torch.Generator().manual_seed(1)
    tokens = [
        sampler.sample_token(torch.tensor(logits), temperature=temperature, top_p=top_p, generator=generator)
        for _ in range(count)
    ]
    return [tokens.count(token) / count for token in range(len(logits))]


def test_tokens_are_sampled_by_their_probabilities() -> None:
    probabilities = torch.tensor([0.5, 0.1, 0.3, 0.1])
    found = shares(probabilities.log().tolist(), temperature=1.0, top_p=1.0)
    assert found == pytest.approx(probabilities.tolist(), abs=0.04)


def test_temperature_flattens() -> None:
    probabilities = torch.tensor([0.64, 0.04, 0.32])
    expected = probabilities.sqrt() / probabilities.sqrt().sum()
    found = shares(probabilities.log().tolist(), temperature=2.0, top_p=1.0)
    assert found == pytest.approx(expected.tolist(), abs=0.04)


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.01, {0}), (0.45, {0}), (0.55, {0, 2}), (0.85, {0, 1, 2}), (1.0, {0, 1, 2, 3})]
)
def test_only_the_likeliest_within_top_p_are_sampled(top_p: float, kept: set[int]) -> None:
    probabilities = torch.tensor([0.5, 0.14, 0.3, 0.06])
    found = shares(probabilities.log().tolist(), temperature=1.0, top_p=top_p, count=500)
    assert {token for token, share in enumerate(found) if share > 0} == kept


def test_a_seed_gives_the_same_token() -> None:
    logits = torch.randn(50)
    first, again = (
        [sampler.sample_token(logits, temperature=1.0, top_p=0.9, generator=generator) for _ in range(10)]
        for generator in (torch.Generator().manual_seed(3), torch.Generator().manual_seed(3))
    )
    assert first == again
    assert len(set(first)) > 1
