"""The Triton kernels of `fused_ops`, which documents what each computes; imported only where there is a GPU.

Every program reads a row (a token, or a few pixels) once, computes in float32 and writes once.
"""

# Triton's language has no annotations but `constexpr`.
# mypy: ignore-errors
# ruff: noqa: N803

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def rms_norm(x, y, weight, shift, scale, width, length, stride, eps, MODULATED: tl.constexpr, BLOCK: tl.constexpr):
    token = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    inside = column < width
    value = tl.load(x + token * width + column, inside, 0.0).to(tl.float32)
    mean = tl.sum(value * value, 0) / width
    value = value * tl.rsqrt(mean + eps) * tl.load(weight + column, inside, 0.0).to(tl.float32)
    if MODULATED:
        row = token // length * stride
        value = value * (1 + tl.load(scale + row + column, inside, 0.0).to(tl.float32))
        value += tl.load(shift + row + column, inside, 0.0).to(tl.float32)
    tl.store(y + token * width + column, value.to(y.dtype.element_ty), inside)


@triton.jit
def add_gated(x, y, gate, width, length, stride, BLOCK: tl.constexpr):
    token = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    inside = column < width
    value = tl.load(y + token * width + column, inside, 0.0).to(tl.float32)
    value *= tl.load(gate + token // length * stride + column, inside, 0.0).to(tl.float32)
    value += tl.load(x + token * width + column, inside, 0.0).to(tl.float32)
    tl.store(x + token * width + column, value.to(x.dtype.element_ty), inside)


@triton.jit
def swiglu(x, y, neurons, BLOCK: tl.constexpr):
    token = tl.program_id(0).to(tl.int64)
    pair = tl.program_id(1) * 2 * BLOCK + tl.arange(0, 2 * BLOCK)
    both = tl.load(x + token * 2 * neurons + pair, pair < 2 * neurons, 0.0).to(tl.float32)
    gate, up = tl.split(tl.reshape(both, (BLOCK, 2)))
    neuron = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    value = gate * tl.sigmoid(gate) * up
    tl.store(y + token * neurons + neuron, value.to(y.dtype.element_ty), neuron < neurons)


@triton.jit
def rotate_and_store(
    qkv,
    positions,
    cosine,
    sine,
    keys,
    values,
    starts,
    written,
    query_weight,
    key_weight,
    length,
    eps,
    HEADS: tl.constexpr,
    SHARED: tl.constexpr,
    HALF: tl.constexpr,
    NORMED: tl.constexpr,
    BLOCK_HEADS: tl.constexpr,
    BLOCK_SHARED: tl.constexpr,
    BLOCK_HALF: tl.constexpr,
):
    token = tl.program_id(0).to(tl.int64)
    row = token // length
    slot = (tl.load(starts + row) + tl.load(written + row)).to(tl.int64) + token % length
    position = tl.load(positions + token).to(tl.int64)
    pair = tl.arange(0, BLOCK_HALF)[None, :]
    paired = pair < HALF
    turn = tl.load(cosine + position * HALF + pair, paired, 0.0)
    lift = tl.load(sine + position * HALF + pair, paired, 0.0)
    own = qkv + token * (HEADS + 2 * SHARED) * 2 * HALF

    head = tl.arange(0, BLOCK_HEADS)[:, None]
    query = (head < HEADS) & paired
    key = (head >= HEADS) & (head < HEADS + SHARED) & paired
    first = tl.load(own + head * 2 * HALF + pair, query | key, 0.0).to(tl.float32)
    second = tl.load(own + head * 2 * HALF + HALF + pair, query | key, 0.0).to(tl.float32)
    if NORMED:
        mean = (tl.sum(first * first, 1) + tl.sum(second * second, 1)) / (2 * HALF)
        spread = tl.rsqrt(mean + eps)[:, None]
        asks = head < HEADS
        first *= spread * tl.where(
            asks, tl.load(query_weight + pair, paired, 0.0), tl.load(key_weight + pair, paired, 0.0)
        ).to(tl.float32)
        second *= spread * tl.where(
            asks, tl.load(query_weight + HALF + pair, paired, 0.0), tl.load(key_weight + HALF + pair, paired, 0.0)
        ).to(tl.float32)
    left = (first * turn - second * lift).to(qkv.dtype.element_ty)
    right = (second * turn + first * lift).to(qkv.dtype.element_ty)
    tl.store(own + head * 2 * HALF + pair, left, query)
    tl.store(own + head * 2 * HALF + HALF + pair, right, query)
    there = keys + slot * SHARED * 2 * HALF + (head - HEADS) * 2 * HALF + pair
    tl.store(there, left, key)
    tl.store(there + HALF, right, key)

    shared = tl.arange(0, BLOCK_SHARED)[:, None]
    taken = (shared < SHARED) & paired
    at = own + (HEADS + SHARED) * 2 * HALF + shared * 2 * HALF + pair
    to = values + slot * SHARED * 2 * HALF + shared * 2 * HALF + pair
    tl.store(to, tl.load(at, taken), taken)
    tl.store(to + HALF, tl.load(at + HALF, taken), taken)


@triton.jit
def channel_norm_silu(x, y, gamma, pixels, channels, factor, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    pixel = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    channel = tl.arange(0, BLOCK)[None, :]
    inside = (pixel < pixels) & (channel < channels)
    value = tl.load(x + pixel * channels + channel, inside, 0.0).to(tl.float32)
    size = tl.sqrt(tl.sum(value * value, 1))[:, None]
    value = (
        value * (factor / tl.maximum(size, 1e-12)) * tl.load(gamma + channel, channel < channels, 0.0).to(tl.float32)
    )
    value = value * tl.sigmoid(value)
    tl.store(y + pixel * channels + channel, value.to(y.dtype.element_ty), inside)
