"""Fetching from where a client says. `127.0.0.1` is the private that must never see a connection; for what should work
`127.0.0.2` is declared public, for these tests alone."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from flashu_core import InvalidRequestError
from server.images import fetch as remote
from server.images.addresses import is_public
from server.images.fetch import RemoteImages, RemoteLimits

OUTSIDE = "127.0.0.2"
PICTURE = bytes(range(256)) * 64


def ok(body: bytes = PICTURE, *headers: str) -> bytes:
    head = "\r\n".join(["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers])
    return head.encode() + b"\r\n\r\n" + body


def redirect(location: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


@dataclass
class Site:
    """Two servers on one port: outside, with pages; and private, which counts who comes."""

    port: int = 0
    pages: dict[str, bytes | Callable[[], bytes]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    private_visits: int = 0
    names: dict[str, list[Sequence[str]]] = field(default_factory=dict)
    looked_up: list[str] = field(default_factory=list)

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """What the names say, one after the other; for the rest the system's resolver."""
        self.looked_up.append(host)
        if host in self.names:
            answers = self.names[host]
            return answers.pop(0) if len(answers) > 1 else answers[0]
        return await remote.resolve_host(host, port)

    def images(self, **limits: Any) -> RemoteImages:
        allowed = {"ports": frozenset({self.port}), "timeout_s": 20.0, **limits}
        return RemoteImages(RemoteLimits(**allowed), resolve=self.resolve)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.requests.append(head)
            page = self.pages.get(head.split()[1], b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            writer.write(page() if callable(page) else page)
            await writer.drain()
        writer.close()

    async def refuse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.private_visits += 1
        writer.close()


@pytest.fixture
async def site(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    site = Site(names={"pictures.example": [[OUTSIDE]]})
    monkeypatch.setattr(remote, "is_public", lambda address: address == OUTSIDE or is_public(address))
    private = await asyncio.start_server(site.refuse, "127.0.0.1", 0)
    site.port = private.sockets[0].getsockname()[1]
    outside = await asyncio.start_server(site.serve, OUTSIDE, site.port)
    try:
        yield site
        assert site.private_visits == 0
    finally:
        for server in (private, outside):
            server.close()
            await server.wait_closed()


async def refused(images: RemoteImages, url: str, words: str | None = None) -> None:
    with pytest.raises(InvalidRequestError, match=words) as caught:
        await images.fetch_image(url)
    assert caught.value.parameter == "image"
    assert "127." not in str(caught.value)  # nothing of what was found private
    assert "canary" not in str(caught.value)


async def test_a_picture_comes_as_it_is(site: Site) -> None:
    site.pages["/a%20b.png?size=1"] = ok()
    url = f"http://Pictures.example:{site.port}/a%20b.png?size=1#top"
    assert await site.images().fetch_image(url) == PICTURE
    head = site.requests[0].lower()
    assert head.startswith("get /a%20b.png?size=1 http/1.1\r\n")
    assert f"host: pictures.example:{site.port}\r\n" in head
    assert "cookie" not in head
    assert "authorization" not in head


async def test_chunks_and_bodies_that_end_with_the_connection(site: Site) -> None:
    site.pages["/chunks"] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    site.pages["/ends"] = b"HTTP/1.1 200 OK\r\n\r\nabcde"
    for page in ("/chunks", "/ends"):
        assert await site.images().fetch_image(f"http://pictures.example:{site.port}{page}") == b"abcde"


LITERALS = ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.1", "017700000001", "0177.0.0.1", "127.0.0.1."]
LITERALS += ["localhost", "LOCALHOST", "0", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"]
LITERALS += ["[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[::127.0.0.1]", "[fec0::1]", "169.254.169.254", "100.64.0.1"]


@pytest.mark.parametrize("host", LITERALS)
async def test_no_private_address_is_reached_by_any_spelling(host: str, site: Site) -> None:
    site.pages["/"] = ok()
    await refused(site.images(), f"http://{host}:{site.port}/")
    await refused(site.images(), f"https://{host}:{site.port}/")


@pytest.mark.parametrize(
    "answers",
    [
        ["127.0.0.1"],
        [OUTSIDE, "127.0.0.1"],
        ["8.8.8.8", "10.0.0.1"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["2002:7f00:1::"],
        ["fe80::1%lo"],
        [],
    ],
)
async def test_a_name_is_as_public_as_the_least_of_its_answers(answers: list[str], site: Site) -> None:
    site.names["rebind.example"] = [answers]
    await refused(site.images(), f"http://rebind.example:{site.port}/", "without a public address")
    assert not site.requests


async def test_a_name_that_changes_is_looked_up_once_and_that_address_is_used(site: Site) -> None:
    site.pages["/"] = ok()
    site.names["rebind.example"] = [[OUTSIDE], ["127.0.0.1"]]
    images = site.images()
    assert await images.fetch_image(f"http://rebind.example:{site.port}/") == PICTURE
    assert site.looked_up == ["rebind.example"]
    await refused(images, f"http://rebind.example:{site.port}/")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed_and_judged_again(status: int, site: Site) -> None:
    site.pages["/start"] = redirect("/there", status)
    site.pages["/there"] = ok()
    site.pages["/in"] = redirect(f"http://127.0.0.1:{site.port}/", status)
    site.pages["/other"] = redirect(f"//localhost:{site.port}/", status)
    site.pages["/port"] = redirect("http://pictures.example:22/", status)
    site.pages["/file"] = redirect("file:///etc/passwd", status)
    site.pages["/user"] = redirect(f"http://me:canary@pictures.example:{site.port}/there", status)
    root = f"http://pictures.example:{site.port}"
    assert await site.images().fetch_image(root + "/start") == PICTURE
    for page in ("/in", "/other", "/port", "/file", "/user"):
        await refused(site.images(), root + page)


async def test_three_redirects_are_the_limit(site: Site) -> None:
    for index in range(5):
        site.pages[f"/{index}"] = redirect(f"/{index + 1}")
    site.pages["/5"] = ok()
    root = f"http://pictures.example:{site.port}"
    assert await site.images().fetch_image(root + "/2") == PICTURE
    site.requests.clear()
    await refused(site.images(), root + "/1", "redirected more than 3 times")
    assert len(site.requests) == 4


@pytest.mark.parametrize(
    "url",
    [
        "ftp://pictures.example/",
        "file:///etc/passwd",
        "gopher://pictures.example/",
        "http:///a",
        "http://",
        "http:pictures.example",
        "http://me@pictures.example:{port}/",
        "http://me:canary@pictures.example:{port}/",
        "http://:@pictures.example:{port}/",
        "http://pictures.example@127.0.0.1:{port}/",
        "http://127.0.0.1:{port}\\@pictures.example:{port}/",
        "http://pictures.example:{port}/a b",
        "http://pictures.example:{port}/\r\nX-Canary: 1",
        "http://pictures.example:{port}/\t",
        "http://pictures.example:{port}/ä",
        "http://pïctures.example:{port}/",
        "http://pictures.example:22/",
        "http://pictures.example:99999/",
        "http://pictures.example:x/",
        "http://[fe80::1%25lo]:{port}/",
        "http://[::1:{port}/",
        "http://pictures.example:{port}/" + "a" * 3000,
        "http://" + "a" * 300 + ":{port}/",
    ],
)
async def test_urls_that_are_not_fetched(url: str, site: Site) -> None:
    await refused(site.images(), url.format(port=site.port) if "{port}" in url else url)
    assert not site.requests


async def test_only_80_and_443_by_default(site: Site) -> None:
    images = RemoteImages(RemoteLimits(), resolve=site.resolve)
    await refused(images, f"http://pictures.example:{site.port}/", "another port than 80, 443")


async def test_an_operators_hosts(site: Site) -> None:
    site.pages["/"] = ok()
    site.pages["/away"] = redirect(f"http://other.example:{site.port}/")
    site.names |= {name: [[OUTSIDE]] for name in ("other.example", "a.trusted.example", "nottrusted.example")}
    images = site.images(hosts=("pictures.example", ".trusted.example"))
    for name in ("pictures.example", "PICTURES.example", "a.trusted.example"):
        assert await images.fetch_image(f"http://{name}:{site.port}/") == PICTURE
    for name in ("other.example", "trusted.example", "nottrusted.example", "pictures.example.other.example"):
        await refused(images, f"http://{name}:{site.port}/", "does not fetch from")
    await refused(images, f"http://pictures.example:{site.port}/away", "does not fetch from")


@pytest.mark.parametrize(
    ("page", "words"),
    [
        (ok(b"x" * 5000), "more than 4096 bytes"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5000, "more than 4096 bytes"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", "more than 4096 bytes"),
        (ok(b"x", "Content-Encoding: gzip"), "compressed"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\n\r\ncanary", "answered 404"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "answered 204"),
        (b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", "answered 302"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ncut", "broke off"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"x" * 100_000, "broke off"),
        (b"SSH-2.0-canary\r\n\r\n", "broke off"),
        (b"", "broke off"),
    ],
)
async def test_answers_that_are_no_picture_of_ours(page: bytes, words: str, site: Site) -> None:
    site.pages["/"] = page
    await refused(site.images(max_bytes=4096), f"http://pictures.example:{site.port}/", words)


async def test_a_host_that_does_not_end_runs_out_of_time(site: Site) -> None:
    site.pages["/"] = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
    forever = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(site.pages["/"])  # type: ignore[arg-type]
        await forever.wait()
        writer.close()

    server = await asyncio.start_server(hang, OUTSIDE, 0)
    port = server.sockets[0].getsockname()[1]
    images = site.images(ports=frozenset({port}), timeout_s=0.3, at_once=1)
    url = f"http://pictures.example:{port}/"
    waits = [refused(images, url, "within 0.3 s") for _ in range(3)]  # the place in line is part of the time
    await asyncio.gather(*waits)
    forever.set()
    server.close()
    await server.wait_closed()


async def test_a_host_that_takes_no_connection(site: Site) -> None:
    with contextlib.closing(await asyncio.start_server(site.serve, OUTSIDE, 0)) as gone:
        port = gone.sockets[0].getsockname()[1]
    await gone.wait_closed()
    await refused(site.images(ports=frozenset({port})), f"http://pictures.example:{port}/", "takes no connection")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory, program: Callable[[str], str]) -> Path:
    """A self-signed certificate of pictures.example and its key, in one file."""
    openssl = program("openssl")
    folder = tmp_path_factory.mktemp("tls")
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=pictures.example", "-addext", "subjectAltName=DNS:pictures.example"]
    command += ["-keyout", str(folder / "key"), "-out", str(folder / "certificate")]
    subprocess.run(command, check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_text((folder / "key").read_text() + (folder / "certificate").read_text())
    return both


async def test_https_asks_for_the_name_at_the_address(
    site: Site, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requested: list[str | None] = []
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    tls.sni_callback = lambda _socket, name, _context: requested.append(name)
    server = await asyncio.start_server(site.serve, OUTSIDE, 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    site.pages["/"] = ok()
    site.names["other.example"] = [[OUTSIDE]]
    strangers = site.images(ports=frozenset({port}))
    await refused(strangers, f"https://pictures.example:{port}/", "takes no connection")  # signed by nobody we know
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    images = site.images(ports=frozenset({port}))
    assert await images.fetch_image(f"https://pictures.example:{port}/") == PICTURE
    assert f"host: pictures.example:{port}\r\n" in site.requests[-1].lower()
    await refused(images, f"https://other.example:{port}/", "takes no connection")  # another name in the certificate
    assert requested == ["pictures.example", "pictures.example", "other.example"]
    server.close()
    await server.wait_closed()
