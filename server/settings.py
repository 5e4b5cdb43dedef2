"""Settings of the server. Each field is also the environment variable `FLASHU_<NAME>` and an option of `flashu
serve`."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from flashu_core import ConfigurationError

PREFIX = "FLASHU_"
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Attention = Literal["sdpa", "flash-attn"]
# Variables that Kubernetes sets in every container of a namespace for a Service called NAME, and Docker for a link of
# that name: NAME_SERVICE_HOST, NAME_PORT=tcp://10.0.0.1:80, NAME_PORT_80_TCP_ADDR, NAME_ENV_PATH, NAME_NAME=/web/name
_LINK = re.compile(r"(tcp|udp|sctp)://", re.IGNORECASE)
_OF_LINK = re.compile(
    r"(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|ADDR|(PORT_)?(START|END)|PORT))?)?|ENV_\w+|NAME)"
)


class SettingsError(ConfigurationError):
    """Invalid settings; each line of the message names one, the reason and the remedy."""


class _Environment(PydanticBaseSettingsSource):
    """The `FLASHU_*` variables, except those that Kubernetes and Docker create for a service that is also called
    flashu. Unknown names are included, so that a mistyped name is rejected: pydantic-settings by itself ignores it."""

    def __init__(self, settings_cls: type[BaseSettings], known: PydanticBaseSettingsSource) -> None:
        super().__init__(settings_cls)
        self._known = known

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        fields = self.settings_cls.model_fields
        ours = {name: value for name, value in os.environ.items() if name.upper().startswith(PREFIX)}
        links = _links(ours)
        known = {
            name: value for name, value in self._known().items() if not (isinstance(value, str) and _LINK.match(value))
        }
        unknown = {
            name: value
            for name, value in ours.items()
            if name[len(PREFIX) :].lower() not in fields and not _of_link(name.upper(), links)
        }
        return known | unknown


def _links(variables: Mapping[str, str]) -> frozenset[str]:
    """Prefixes of variables that were created for services and links."""
    found = set()
    for name, value in variables.items():
        prefix, _, last = name.upper().rpartition("_")
        if last == "PORT" and _LINK.match(value):
            found.add(prefix)
        elif last == "HOST" and prefix.endswith("_SERVICE"):
            found.add(prefix.removesuffix("_SERVICE"))
        elif last == "NAME" and re.sub(r"\W", "_", value.rpartition("/")[2]).upper() == prefix:
            found.add(prefix)
    return frozenset(found)


def _of_link(name: str, links: Collection[str]) -> bool:
    return any(name.startswith(f"{link}_") and _OF_LINK.fullmatch(name[len(link) + 1 :]) for link in links)


class Settings(BaseSettings):
    """Settings of one server process. Arguments take precedence over the environment, the environment over defaults."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
        env_ignore_empty=True,
        use_attribute_docstrings=True,
    )

    model: str | None = None
    """Folder or hub id of the checkpoint; by default the embedded model."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on; 0 selects a free port."""
    root_path: str = Field(default="", pattern=r"^(/[A-Za-z0-9._~-]+)*$", max_length=256)
    """Path prefix under which a reverse proxy publishes the server, e.g. /flashu, whether or not the proxy strips
    it."""
    allowed_hosts: str = Field(default="", max_length=4096)
    """Comma-separated names accepted in the Host header: `.example.org` matches all subdomains, `*` any name. By
    default any name, or only local names if host is a loopback address."""
    check_origin: bool | None = None
    """Reject POST requests from pages of other origins; by default only if host is a loopback address."""
    cors_origins: str = Field(default="", max_length=4096)
    """Comma-separated origins whose pages may call the server (CORS), e.g. https://app.example.org; by default none."""
    device: str = "auto"
    """Device of the model: auto, cpu, cuda, ..."""
    dtype: Dtype = "auto"
    """Data type of the weights."""
    attention: Attention = "sdpa"
    """Attention kernel for passes without CUDA graphs."""
    enforce_eager: bool = False
    """Disable CUDA graphs and fused kernels on a GPU."""
    threads: int | None = Field(default=None, ge=1, le=1024)
    """CPU threads for computation; by default OMP_NUM_THREADS, else the CPUs the process may use, fewer for a small
    model."""
    acceleration: str = Field(default="flashu", min_length=1, max_length=64)
    """Acceleration policy of requests that do not name one."""
    max_batch: int = Field(default=8, ge=1, le=256)
    """Maximum number of sequences in a batch."""
    max_prompt_tokens: int = Field(default=256, ge=1, le=32768)
    """Maximum number of tokens in a prompt or question."""
    max_running: int | None = Field(default=None, ge=1, le=1024)
    """Maximum number of running pictures, and of running answers; by default twice max_batch."""
    max_picture_mib: int = Field(default=4096, ge=1, le=2**20)
    """Maximum memory for caches of running pictures, in MiB; a single larger picture still runs, alone."""
    max_answer_mib: int = Field(default=2048, ge=1, le=2**20)
    """Maximum memory for caches of running answers, in MiB; a single larger answer still runs, alone."""
    answer_weight: float = Field(default=4.0, ge=0.01, le=100)
    """Engine time for answers per second of engine time for pictures, while both wait."""
    max_queue_seconds: float = Field(default=10.0, gt=0, le=3600)
    """Maximum predicted queue time, in seconds; a request that would wait longer is rejected with 503."""
    max_request_seconds: float = Field(default=300.0, gt=0, le=86_400)
    """Maximum predicted run time of one request, in seconds, with answers at full length; more is rejected with 400,
    except on OpenAI's routes, where the answer's maximum length is reduced to fit."""
    max_queue: int = Field(default=256, ge=0, le=10_000)
    """Maximum number of waiting requests per task."""
    load_timeout_s: float = Field(default=1800.0, gt=0, le=86_400)
    """Timeout for loading the model, including the download; each unit of calibration and warm-up restarts it."""
    hang_timeout_s: float = Field(default=10.0, gt=0, le=3600)
    """Seconds without progress after which a busy worker is replaced, but at least twice the duration of a typical long
    unit of work."""
    max_restarts: int = Field(default=5, ge=0, le=1000)
    """Maximum number of worker restarts per minute; after that the server stays unready."""
    request_timeout_s: float = Field(default=300.0, gt=0, le=3600)
    """Default `timeout_s` of a request: its deadline in seconds after arrival."""
    max_body_bytes: int = Field(default=20 * 2**20, ge=1024, le=2**30)
    """Maximum size of a request body, in bytes."""
    max_body_memory_mib: int = Field(default=256, ge=1, le=2**20)
    """Maximum memory for the bodies of all requests, in MiB, but at least max_body_bytes; beyond it the largest body
    that is still arriving is rejected with 503."""
    body_timeout_s: float = Field(default=30.0, gt=0, le=3600)
    """Timeout for receiving the whole request body."""
    max_pixels: int = Field(default=64_000_000, ge=64, le=2**28)
    """Maximum number of pixels (width times height) of an uploaded picture."""
    min_side: int = Field(default=8, ge=1, le=4096)
    """Minimum width and height of an uploaded picture."""
    image_decode_timeout_s: float = Field(default=10.0, gt=0, le=300)
    """Timeout for decoding one uploaded picture."""
    image_processes: int = Field(default=2, ge=1, le=64)
    """Number of processes that decode pictures; half as many, at least one, encode them. A client whose pictures are
    slow to decode gets all but one of them."""
    image_memory_mib: int = Field(default=512, ge=64, le=65_536)
    """Maximum memory for decoding one uploaded picture, in MiB, in addition to its file."""
    api_keys: SecretStr = SecretStr("")
    """Comma-separated API keys, `KEY` or `NAME:KEY`; without any key the server is open to all clients."""
    api_key_file: Path | None = None
    """File with more API keys, one per line; reloaded when it changes."""
    metrics_max_age_s: float = Field(default=1.0, ge=0, le=60)
    """Seconds for which a rendered /metrics response is reused."""
    open_metrics: bool = True
    """Serve /metrics without an API key, like the probes."""
    rate_limit: str | None = Field(default=None, max_length=256)
    """Maximum request rate per key, e.g. 60/minute; 1000/day. Without keys: per client address."""
    work_limit: str | None = Field(default=None, max_length=256)
    """Maximum number of denoising steps and tokens per key, e.g. 20000/hour; reserved before a request runs and charged
    for what ran. The x-ratelimit-*-tokens headers report the rest."""
    min_priority: int = Field(default=0, ge=-100, le=100)
    """Lowest priority value that a request may use (lower runs first), except with keys of priority_keys."""
    priority_keys: str = Field(default="", max_length=4096)
    """Comma-separated lowest priority values of single keys, by name, e.g. `NAME:-10,OTHER:-100`."""
    max_connections: int = Field(default=512, ge=1, le=100_000)
    """Maximum number of open connections; a further one closes the connection idle for longest. 64 more are reserved
    for probes."""
    max_connections_per_client: int | None = Field(default=None, ge=1, le=100_000)
    """Maximum number of connections per client address (or IPv6 /64); by default half of max_connections. Behind a
    proxy all clients share its address: set this to max_connections there."""
    keep_alive_s: int = Field(default=75, ge=1, le=3600)
    """Seconds for which an idle connection is kept open; should exceed the idle timeout of proxies and client pools, so
    that no request meets a connection that is being closed."""
    head_timeout_s: float = Field(default=10.0, gt=0, le=3600)
    """Timeout for receiving a request's headers."""
    write_timeout_s: float = Field(default=30.0, gt=0, le=3600)
    """Timeout for a client to read 64 KiB of its response."""
    remote_images: bool = False
    """Allow pictures to be given as http and https URLs, which the server fetches."""
    remote_image_hosts: str = Field(default="", max_length=4096)
    """Comma-separated hosts that pictures may be fetched from, `.example.org` for all subdomains; by default any public
    host."""
    remote_image_max_bytes: int = Field(default=10 * 2**20, ge=1024, le=2**30)
    """Maximum size of a fetched picture, in bytes."""
    remote_image_timeout_s: float = Field(default=10.0, gt=0, le=300)
    """Timeout for fetching a picture, redirects included."""
    served_model_names: str = Field(default="", max_length=4096)
    """Comma-separated names by which clients may refer to the model; by default its own name. /v1/models lists all."""
    image_store_mib: int = Field(default=64, ge=0, le=2**20)
    """Memory for generated pictures kept for an hour for response_format url, in MiB; the oldest are evicted first, 0
    disables it."""
    public_url: str = Field(default="", pattern=r"^(https?://[^\s/?#]+(/[^\s?#]*)?)?$", max_length=1024)
    """Base URL under which clients reach the server, for URLs of kept pictures; by default taken from the request."""
    log_format: Literal["json", "text"] = "text"
    """Log format: one JSON object per line, or plain text."""
    log_level: Literal["critical", "error", "warning", "info", "debug"] = "info"
    """Minimum severity to log; debug also logs the messages of unexpected exceptions."""
    shutdown_timeout_s: int = Field(default=30, ge=1, le=3600)
    """Seconds that requests in flight have to finish after SIGTERM."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, _Environment(settings_cls, env_settings)


def read_settings(**given: Any) -> Settings:
    """Settings from the environment and from `given`, such as the options of a command line.

    Raises:
        SettingsError: some are invalid; the message names all of them.
    """
    try:
        return Settings(**given)
    except ValidationError as error:
        lines = [_described(one["loc"], one["type"], one["msg"]) for one in error.errors(include_url=False)]
        raise SettingsError("\n".join(lines)) from None


def variable_of(field: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + field.upper()


def option_of(field: str) -> str:
    """The option of `flashu serve` for a setting: its name, without the unit of a time."""
    return "--api-key" if field == "api_keys" else "--" + field.removesuffix("_s").replace("_", "-")


def _described(place: tuple[int | str, ...], kind: str, message: str) -> str:
    name = str(place[0]) if place else ""
    if kind == "extra_forbidden":
        known = [variable_of(field) for field in Settings.model_fields]
        likely = difflib.get_close_matches(name.upper(), known, n=1)
        return f"there is no setting {name}" + (f"; did you mean {likely[0]}?" if likely else "; remove it")
    message = message.replace("Input should be", "must be")
    return f"{name} ({variable_of(name)} or {option_of(name)}): {message}"
