"""What an operator can set: each field here is also the environment variable `FLASHU_<NAME>`. It knows values and
their limits, not what is done with them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

PREFIX = "FLASHU_"
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Attention = Literal["sdpa", "flash-attn"]
# Kubernetes and Docker links put these next to ours when a Service or container is called "flashu".
_SERVICE_LINK = re.compile(r"(_SERVICE_(HOST|PORT)(_\w+)?|_PORT_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)$")


class _UnknownOptions(PydanticBaseSettingsSource):
    """Hands over every `FLASHU_*` variable that is no field, so that a mistyped option is refused and not ignored:
    pydantic-settings by itself looks only for names it knows."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        known = self.settings_cls.model_fields
        return {
            name: value
            for name, value in os.environ.items()
            if name.upper().startswith(PREFIX)
            and name[len(PREFIX) :].lower() not in known
            and not _SERVICE_LINK.search(name.upper())
        }


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
    """Attention kernel."""
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
    max_queue: int = Field(default=256, ge=0, le=10_000)
    """Requests of a task that may wait, whatever they cost."""
    load_timeout_s: float = Field(default=1800.0, gt=0, le=86_400)
    """Seconds that loading may take, a download included; each unit of calibrating and warming up starts them anew."""
    hang_timeout_s: float = Field(default=10.0, gt=0, le=3600)
    """Seconds without progress after which a busy worker is replaced; twice its longest unit where that is more."""
    max_restarts: int = Field(default=5, ge=0, le=1000)
    """Times within a minute that a worker that died is replaced; after that the server stays unready."""
    request_timeout_s: float = Field(default=300.0, gt=0, le=3600)
    """Deadline of a request that names none, in seconds from its arrival."""
    max_body_bytes: int = Field(default=20 * 2**20, ge=1024, le=2**30)
    """Bytes of a request's body at most."""
    body_timeout_s: float = Field(default=30.0, gt=0, le=3600)
    """Seconds a client has to send the whole body."""
    max_pixels: int = Field(default=16_000_000, ge=64, le=2**28)
    """Pixels of a sent picture at most (width times height)."""
    min_side: int = Field(default=8, ge=1, le=4096)
    """Width and height of a sent picture at least."""
    image_decode_timeout_s: float = Field(default=10.0, gt=0, le=300)
    """Seconds that decoding one sent picture may take."""
    image_threads: int = Field(default=2, ge=1, le=64)
    """Threads that decode and encode pictures."""
    api_keys: SecretStr = SecretStr("")
    """Keys that open the routes, `KEY` or `NAME:KEY`, between commas; without any the server is open to all."""
    api_key_file: Path | None = None
    """File with more keys, one a line, read again when it changes."""
    open_metrics: bool = True
    """Whether /metrics answers without a key, as the probes do."""
    rate_limit: str | None = Field(default=None, max_length=256)
    """Requests per key, as 60/minute; 1000/day. Without keys: per client address."""
    work_limit: str | None = Field(default=None, max_length=256)
    """Evaluations and tokens per key, as 20000/hour, charged when they are done."""
    max_connections: int = Field(default=512, ge=1, le=100_000)
    """Connections open at most; at one more, the one idle for longest is closed."""
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
        return init_settings, env_settings, _UnknownOptions(settings_cls)
