"""Which hosts a request may name and which pages may send one: middleware against DNS rebinding and cross-site
requests, and CORS for the origins that an operator lists. It knows headers only."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from flashu_core import ConfigurationError
from server.errors import HostNotAllowedError, OriginNotAllowedError, Problem, problem_of
from server.request_record import record_of

EXPOSED_HEADERS = (
    *("X-Request-Id", "X-Flashu-Id", "X-Flashu-Seed", "X-Flashu-Warnings"),
    "Retry-After",
    *(f"X-RateLimit-{what}-{kind}" for kind in ("Requests", "Tokens") for what in ("Limit", "Remaining", "Reset")),
)
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?", re.ASCII)
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[a-z0-9._\[\]:-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class AllowedHosts:
    """The names that a request's `Host` may have.

    An address instead of a name is always allowed: rebinding needs a name that leads to this server. Names without a
    dot (`localhost`, a container's, an alias of one machine) are allowed where the list is not an operator's, since
    nobody can register one.

    Attributes:
        names: lower case; `.example.org` stands for all below it.
        local: whether names without a dot are allowed.
    """

    names: tuple[str, ...] = ()
    local: bool = False

    @classmethod
    def of(cls, text: str, *, loopback: bool) -> AllowedHosts | None:
        """From the setting; None where every host is allowed: by `*`, or by default where others reach the server.

        Raises:
            ConfigurationError: an entry is no name.
        """
        names = tuple(name.strip().lower() for name in text.split(",") if name.strip())
        if "*" in names or (not names and not loopback):
            return None
        if not all(_HOST.fullmatch(name) and ":" not in name for name in names):
            raise ConfigurationError("allowed_hosts must be names between commas, without ports: a.example, .b.example")
        return cls(names, local=not names)

    def __contains__(self, host: str) -> bool:
        """Whether a `Host` header's value is allowed; its port is not looked at."""
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        name = found["name"].lower().removesuffix(".")
        if _is_address(name) or (self.local and "." not in name) or name.endswith(".localhost"):
            return True
        return any(name == one or (one.startswith(".") and name.endswith(one)) for one in self.names)


class TrustedHosts:
    """Refuses requests that name a host this server does not have, which is what a page does whose name was rebound to
    this machine, and requests that change something from pages of other origins.

    Programs that send no `Origin` and no `Host` are no pages and pass. `open_routes` pass too: schedulers probe under
    whatever name they like.

    Args:
        hosts: None for any.
        check_origin: compare `Origin` with `Host`.
        origins: those allowed besides the server's own.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: AllowedHosts | None,
        check_origin: bool,
        origins: tuple[str, ...],
        open_routes: frozenset[str],
    ) -> None:
        self._app = app
        self._hosts = hosts
        self._check_origin = check_origin
        self._origins = origins
        self._open_routes = open_routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in self._open_routes:
            refused = self._refusal(scope["method"], Headers(scope=scope))
            if refused is not None:
                problem = problem_of(refused)
                record_of(scope).fail(problem)
                await problem.response()(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, method: str, headers: Headers) -> HostNotAllowedError | OriginNotAllowedError | None:
        host = headers.get("host")
        if host and self._hosts is not None and host not in self._hosts:
            return HostNotAllowedError()
        origin = headers.get("origin")
        if origin is None or not self._check_origin or method in _SAFE or origin in self._origins:
            return None
        # Not the scheme: a proxy may have taken TLS off.
        own = origin.partition("://")[2].lower() == (host or "").lower()
        return None if own and host else OriginNotAllowedError()


class Cors(CORSMiddleware):
    """CORS for exact origins, without cookies. It stands before the keys: a preflight carries none."""

    def __init__(self, app: ASGIApp, *, origins: tuple[str, ...]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=("GET", "HEAD", "POST"),
            allow_headers=("*",),
            allow_private_network=True,
            expose_headers=EXPOSED_HEADERS,
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code == 200:
            return response
        message = "the preflight asks for an origin or method that is not allowed; origins are listed in cors_origins"
        return Problem(400, "cors_refused", message, headers={"Vary": response.headers["vary"]}).response()


def origins_of(text: str) -> tuple[str, ...]:
    """The origins of the setting.

    Raises:
        ConfigurationError: an entry is no origin; `*` is none.
    """
    origins = tuple(origin.strip().lower() for origin in text.split(",") if origin.strip())
    if not all(_ORIGIN.fullmatch(origin) for origin in origins):
        raise ConfigurationError(
            "cors_origins must be exact origins between commas, without a path: https://a.example, http://localhost:3000"
        )
    return origins


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
