"""What the service is told by its environment. The only reader of `CANDOR_...` variables."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import limits
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from candor.errors import InvalidInput

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]


def _state_home() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser()


class Settings(BaseSettings):
    """Every setting is the environment variable CANDOR_<NAME>; an empty one is as none.

    Attributes:
        artifact: directory or store tag of the prompt artifact to begin with; None serves the hand-written template.
        artifacts: directory whose subfolders are artifacts that may be activated; None offers none.
        index: directory of a vocabulary index; None gives no nearest labels and no lookup, and MCM as the open-set score.
        model, pretrained: the backbone where there is no artifact.
        device: "auto" takes a CUDA GPU if there is one.
        precision: "auto" is bf16 on a GPU and fp32 on the CPU.
        max_body_bytes: of one request.
        max_pixels: of one image, by its header, before anything is decoded.
        max_images: in one request.
        max_labels: in one request.
        max_texts: labels times templates of a request, or of a label set that is kept.
        max_label_length: characters of one label.
        max_label_sets: that are kept by name.
        state: directory where they are kept.
        feedback: SQLAlchemy URL of the store of true labels, SQLite or PostgreSQL; None is feedback.db in the state
            directory, "off" takes none.
        receipt_keys: file of the keys that receipts (prediction_id) are signed with, which replicas share; None is
            receipt_keys.json in the state directory, made at the first start.
        receipt_days: for which a receipt is taken.
        workers: processes of this server, each with the model, its queue and its limits.
        threads: that torch uses for the model on the CPU; "auto" is measured at start.
        max_batch: images that the model takes at once; "auto" is measured at start.
        max_wait_ms: that the model waits, right after a batch, for as many callers to come back; an idle one never waits.
        max_queue: images that wait to be decoded, and for the model; more are refused with 503.
        timeout_seconds: after which an image that the model has not begun, or labels that are not encoded, are refused
            with 503.
        drain_seconds: that requests in flight have after SIGTERM or SIGINT.
        label_cache_bytes: of the text features of label sets that are kept.
        keys: file of API keys (candor keys add); None serves only this machine.
        allow_anonymous: serve other machines without keys, but not as admins.
        rate_limit: requests a time for each key, or each address without keys, such as "600/minute"; None sets no limit.
        max_in_flight: requests that are answered at once; more are refused with 503.
        body_seconds: that a caller has to send a body.
        cors_origins: of web pages that may ask, as a JSON list or with commas between; "*" is all.
        log_level: of what the service logs.
    """

    model_config = SettingsConfigDict(env_prefix="CANDOR_", env_ignore_empty=True, extra="ignore", frozen=True)

    artifact: str | None = None
    artifacts: Path | None = None
    index: Path | None = None
    model: str = "glyph-clip"
    pretrained: str | None = None
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    max_body_bytes: int = Field(20 * 2**20, ge=1024)
    max_pixels: int = Field(50_000_000, ge=1)
    max_images: int = Field(32, ge=1)
    max_labels: int = Field(1000, ge=1)
    max_texts: int = Field(10_000, ge=1)
    max_label_length: int = Field(500, ge=1)
    max_label_sets: int = Field(100, ge=0)
    state: Path = Field(default_factory=lambda: _state_home() / "candor")
    feedback: str | None = Field(None, repr=False)  # it may hold a password
    receipt_keys: Path | None = None
    receipt_days: float = Field(30, gt=0, le=36_500)
    workers: int = Field(1, ge=1, le=64)
    threads: Literal["auto"] | Annotated[int, Field(ge=1, le=1024)] = "auto"
    max_batch: Literal["auto"] | Annotated[int, Field(ge=1, le=4096)] = "auto"
    max_wait_ms: float = Field(5, ge=0, le=10_000, allow_inf_nan=False)
    max_queue: int = Field(512, ge=1)
    timeout_seconds: float = Field(30, gt=0, allow_inf_nan=False)
    drain_seconds: float = Field(25, ge=0, allow_inf_nan=False)
    label_cache_bytes: int = Field(256 * 2**20, ge=0)
    keys: Path | None = None
    allow_anonymous: bool = False
    rate_limit: str | None = None
    max_in_flight: int = Field(256, ge=1)
    body_seconds: float = Field(30, gt=0, allow_inf_nan=False)
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    log_level: LogLevel = "INFO"

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _listed(cls, given: Any) -> Any:
        if not isinstance(given, str):
            return given
        if not given.lstrip().startswith("["):
            return [part.strip() for part in given.split(",") if part.strip()]
        try:
            return json.loads(given)
        except (ValueError, RecursionError):
            raise ValueError("must be a JSON list of origins, or origins with commas between") from None

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            parts = urlsplit(origin)
            if origin != "*" and (parts.scheme not in ("http", "https") or origin != f"{parts.scheme}://{parts.netloc}"):
                raise ValueError(f"{origin!r} is not an origin such as https://example.org (no path)")
        return origins

    @field_validator("rate_limit")
    @classmethod
    def _parsed(cls, limit: str | None) -> str | None:
        try:
            if limit is not None:
                limits.parse(limit)
        except ValueError:
            raise ValueError("must be requests a time, such as 600/minute or 10/second") from None
        return limit


def load_settings(**given: Any) -> Settings:
    """The settings of the environment.

    Args:
        given: settings that outdo their variables.

    Raises:
        InvalidInput: some make no sense; one line for each, with its variable, its value and what is valid.
    """
    try:
        return Settings(**given)
    except ValidationError as error:
        reasons: dict[str, list[str]] = {}
        values: dict[str, object] = {}
        for problem in error.errors(include_url=False):
            name = f"CANDOR_{problem['loc'][0]}".upper()
            reasons.setdefault(name, []).append(_plain(problem["msg"]))
            values[name] = os.environ.get(name, problem["input"])
        lines = (f"{name}={_short(values[name])}: {' or '.join(dict.fromkeys(why))}" for name, why in reasons.items())
        raise InvalidInput("\n".join(lines)) from None


def _plain(message: str) -> str:
    return message.removeprefix("Value error, ").replace("Input should be", "must be")


def _short(value: object, most: int = 60) -> str:
    text = str(value)
    return repr(text if len(text) <= most else f"{text[:most]}...")
