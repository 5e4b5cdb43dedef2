"""Pictures that are kept for a while: bounds, time, tokens."""

from __future__ import annotations

import pytest

from server.images.store import PREFIX, ImageStore


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_file_is_kept_for_its_time() -> None:
    clock = Clock()
    store = ImageStore(max_bytes=100, keep_s=10, clock=clock)
    token = store.put(b"abc", "image/png")
    clock.now = 4.0
    image = store.get(token)
    assert image is not None and (image.file, image.media_type) == (b"abc", "image/png")
    assert store.seconds_left(image) == 6.0
    clock.now = 10.0
    assert store.get(token) is None
    assert (len(store), store.size) == (0, 0)


def test_the_oldest_go_where_the_store_is_full() -> None:
    store = ImageStore(max_bytes=100, max_images=5)
    tokens = [store.put(bytes(30), "image/png") for _ in range(20)]
    assert (len(store), store.size) == (3, 90)
    assert [token for token in tokens if store.get(token)] == tokens[-3:]
    tokens = [store.put(b"x", "image/png") for _ in range(20)]
    assert len(store) == 5
    assert [token for token in tokens if store.get(token)] == tokens[-5:]
    assert store.fits(100) and not store.fits(101)


def test_tokens_cannot_be_guessed() -> None:
    store = ImageStore(max_bytes=10_000)
    tokens = {store.put(b"x", "image/png") for _ in range(1000)}
    assert len(tokens) == 1000
    assert all(len(token) == 43 for token in tokens)  # 256 bits


@pytest.mark.parametrize("base", ["", "http://127.0.0.1:8000", "https://other.example/prefix", "http://[::1]:80/a/b"])
def test_an_address_names_its_file_whatever_the_host(base: str) -> None:
    store = ImageStore(max_bytes=100)
    token = store.put(b"abc", "image/png")
    assert store.at(base + PREFIX + token) == b"abc"
    for other in (token, PREFIX + token[:-1], f"{base}{PREFIX}{token}/x", f"{base}{PREFIX}{token}?a", "x" * 10**6):
        assert store.at(other) is None
