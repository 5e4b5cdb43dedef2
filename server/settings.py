"""What an operator can set: each field here is also the environment variable `FLASHU_<NAME>`. It knows values and
their limits, not what is done with them."""

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
# What Kubernetes sets in every container of a namespace for a Service called NAME, and Docker for a link of that name:
# NAME_SERVICE_HOST, NAME_PORT=tcp://10.0.0.1:80, NAME_PORT_80_TCP_ADDR, NAME_ENV_PATH, NAME_NAME=/web/name, ...
_LINK = re.compile(r"(tcp|udp|sctp)://", re.IGNORECASE)
_OF_LINK = re.compile(
    r"(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|ADDR|(PORT_)?(START|END)|PORT))?)?|ENV_\w+|NAME)"
)


class SettingsError(ConfigurationError):
    """Settings that cannot be used; each line names one, the reason and the remedy."""


class _Environment(PydanticBaseSettingsSource):
    """The `FLASHU_*` variables, without those that Kubernetes and Docker make for a service that is called flashu too.
    One that is no field is handed over all the same, so that a mistyped name is refused and not ignored:
    pydantic-settings by itself looks only for names it knows."""

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
    """Names of the services and links that variables were made for, as they begin these."""
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
    """Settings of one server process; arguments win over the environment, the environment over the defaults."""

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
    """Folder or hub id of the checkpoint; nothing means the embedded model."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    root_path: str = Field(default="", pattern=r"^(/[A-Za-z0-9._~-]+)*$", max_length=256)
    """Prefix under which a reverse proxy publishes the server, as /flashu; the proxy may cut it off or leave it on."""
    allowed_hosts: str = Field(default="", max_length=4096)
    """Names that requests may have in Host, between commas, `.example.org` for all below it, `*` for any; by default
    any, and only local names where host is a loopback address."""
    check_origin: bool | None = None
    """Whether POSTs from pages of other origins are refused; by default where host is a loopback address."""
    cors_origins: str = Field(default="", max_length=4096)
    """Origins whose pages may call the server (CORS), between commas, as https://app.example.org; by default none."""
    device: str = "auto"
    """Where the model runs: auto, cpu, cuda, ..."""
    dtype: Dtype = "auto"
    """Type of the weights."""
    attention: Attention = "sdpa"
    """Attention kernel of passes without CUDA graphs."""
    enforce_eager: bool = False
    """On a GPU, run without CUDA graphs and fused kernels."""
    threads: int | None = Field(default=None, ge=1, le=1024)
    """Threads that compute on the CPU; by default OMP_NUM_THREADS, else the CPUs the server may use, fewer for a small
    model."""
    acceleration: str = Field(default="flashu", min_length=1, max_length=64)
    """Policy of requests that name none."""
    max_batch: int = Field(default=8, ge=1, le=256)
    """Sequences the engine evaluates together at most."""
    max_prompt_tokens: int = Field(default=256, ge=1, le=32768)
    """Tokens of a prompt or question at most."""
    max_running: int | None = Field(default=None, ge=1, le=1024)
    """Pictures, or answers, that are begun and not ended at most; by default twice max_batch."""
    max_picture_mib: int = Field(default=4096, ge=1, le=2**20)
    """MiB that begun pictures hold in caches at most; a larger one still runs, alone."""
    max_answer_mib: int = Field(default=2048, ge=1, le=2**20)
    """MiB that begun answers hold in caches at most; a larger one still runs, alone."""
    answer_weight: float = Field(default=4.0, ge=0.01, le=100)
    """Seconds that answers run for each second of pictures, while both wait."""
    max_queue_seconds: float = Field(default=10.0, gt=0, le=3600)
    """Seconds that a request may have to wait, as predicted; one that would wait longer is refused with 503."""
    max_request_seconds: float = Field(default=300.0, gt=0, le=86_400)
    """Seconds that one request may take by itself, as priced (answers at full length); more is refused with 400, but on
    OpenAI's routes an answer's length is cut to what fits."""
    max_queue: int = Field(default=256, ge=0, le=10_000)
    """Requests of a task that may wait, whatever they cost."""
    load_timeout_s: float = Field(default=1800.0, gt=0, le=86_400)
    """Seconds that loading may take, a download included; each unit of calibrating and warming up starts them anew."""
    hang_timeout_s: float = Field(default=10.0, gt=0, le=3600)
    """Seconds without progress after which a busy worker is replaced; twice a usual long unit where that is more."""
    max_restarts: int = Field(default=5, ge=0, le=1000)
    """Times within a minute that a worker that died is replaced; after that the server stays unready."""
    request_timeout_s: float = Field(default=300.0, gt=0, le=3600)
    """Deadline of a request that names none, in seconds from its arrival."""
    max_body_bytes: int = Field(default=20 * 2**20, ge=1024, le=2**30)
    """Bytes of a request's body at most."""
    max_body_memory_mib: int = Field(default=256, ge=1, le=2**20)
    """MiB that the bodies of all requests hold at most, and max_body_bytes where that is more; beyond it the largest
    that is still arriving is refused with 503."""
    body_timeout_s: float = Field(default=30.0, gt=0, le=3600)
    """Seconds a client has to send the whole body."""
    max_pixels: int = Field(default=64_000_000, ge=64, le=2**28)
    """Pixels of a sent picture at most (width times height)."""
    min_side: int = Field(default=8, ge=1, le=4096)
    """Width and height of a sent picture at least."""
    image_decode_timeout_s: float = Field(default=10.0, gt=0, le=300)
    """Seconds that decoding one sent picture may take."""
    image_processes: int = Field(default=2, ge=1, le=64)
    """Processes that decode pictures; half as many, at least one, encode them. A client whose pictures take long gets
    all of them but one."""
    image_memory_mib: int = Field(default=512, ge=64, le=65_536)
    """MiB that decoding one sent picture may take, beside its file."""
    api_keys: SecretStr = SecretStr("")
    """Keys that open the routes, `KEY` or `NAME:KEY`, between commas; without any the server is open to all."""
    api_key_file: Path | None = None
    """File with more keys, one a line, read again when it changes."""
    metrics_max_age_s: float = Field(default=1.0, ge=0, le=60)
    """Seconds that a rendered /metrics is given to everybody who asks."""
    open_metrics: bool = True
    """Whether /metrics answers without a key, as the probes do."""
    rate_limit: str | None = Field(default=None, max_length=256)
    """Requests per key, as 60/minute; 1000/day. Without keys: per client address."""
    work_limit: str | None = Field(default=None, max_length=256)
    """Evaluations and tokens per key, as 20000/hour: reserved before a request runs, and charged as far as it ran.
    What is left is told in x-ratelimit-*-tokens."""
    min_priority: int = Field(default=0, ge=-100, le=100)
    """Best priority that a request may have (lower runs first), but for the keys of priority_keys."""
    priority_keys: str = Field(default="", max_length=4096)
    """Keys by name that may have a better priority, between commas, as `NAME:-10,OTHER:-100`."""
    max_connections: int = Field(default=512, ge=1, le=100_000)
    """Connections open at most; at one more, the one idle for longest is closed. Probes have 64 places of their own."""
    max_connections_per_client: int | None = Field(default=None, ge=1, le=100_000)
    """Connections of one client address (or IPv6 /64) at most; by default half of max_connections. Behind a proxy all
    clients have its address: set it to max_connections there."""
    keep_alive_s: int = Field(default=75, ge=1, le=3600)
    """Seconds that a connection may rest between two requests; longer than a proxy in front or a client's pool keeps
    it, so that no request meets a connection that is just being closed."""
    head_timeout_s: float = Field(default=10.0, gt=0, le=3600)
    """Seconds a client has to send a request's headers."""
    write_timeout_s: float = Field(default=30.0, gt=0, le=3600)
    """Seconds a client has to take 64 KiB of its answer."""
    remote_images: bool = False
    """Whether pictures may be named by http and https addresses, which the server then fetches."""
    remote_image_hosts: str = Field(default="", max_length=4096)
    """Hosts that pictures may be fetched from, between commas, `.example.org` for all below it; none means any."""
    remote_image_max_bytes: int = Field(default=10 * 2**20, ge=1024, le=2**30)
    """Bytes of a fetched picture at most."""
    remote_image_timeout_s: float = Field(default=10.0, gt=0, le=300)
    """Seconds that fetching a picture may take."""
    served_model_names: str = Field(default="", max_length=4096)
    """Names that clients call the model by, between commas; by default the model's own. The list of models has all."""
    image_store_mib: int = Field(default=64, ge=0, le=2**20)
    """MiB of drawn pictures kept for an hour, for response_format url; the oldest go first, 0 keeps none."""
    public_url: str = Field(default="", pattern=r"^(https?://[^\s/?#]+(/[^\s?#]*)?)?$", max_length=1024)
    """Address under which clients reach the server, for the addresses of kept pictures; by default as they name it."""
    log_format: Literal["json", "text"] = "text"
    """A JSON object a line, or lines for people."""
    log_level: Literal["critical", "error", "warning", "info", "debug"] = "info"
    """Least severity that is logged; debug also shows the messages of unexpected exceptions."""
    shutdown_timeout_s: int = Field(default=30, ge=1, le=3600)
    """Seconds that requests in flight get to end after SIGTERM."""

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
    """The settings of the environment and of what is given beside it, such as the options of a command line.

    Raises:
        SettingsError: some cannot be used; all of them are named.
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
        return f"{name}: there is no such setting" + (f"; did you mean {likely[0]}?" if likely else "")
    return f"{name} ({variable_of(name)} or {option_of(name)}): {message}"
