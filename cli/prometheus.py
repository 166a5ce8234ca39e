"""The real Prometheus as a process, and what it answers. Tests and `candor simulate` ask it as a dashboard would."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import yaml

from candor.errors import CandorError, InvalidInput
from cli.server import free_port, stop

BINARY = "prometheus"
START_TIMEOUT = 60.0  # seconds
Labels = dict[str, str]


@dataclass(frozen=True)
class Sample:
    """A value of an instant query.

    Attributes:
        labels: of its series, `__name__` among them where the query keeps it.
        value: may be NaN or infinite.
    """

    labels: Labels
    value: float


@dataclass(frozen=True)
class Series:
    """Values of one series over time.

    Attributes:
        labels: as in `Sample`.
        points: unix time in seconds and value, in order of time.
    """

    labels: Labels
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Alert:
    """An alert that is pending or firing.

    Attributes:
        name: of its rule.
        state: "pending" (its `for` has not passed) or "firing".
        labels: its own, without `alertname`.
        annotations: with their templates filled in.
        value: of its expression.
        since: when its expression became true, unix time in seconds.
    """

    name: str
    state: str
    labels: Labels
    annotations: Labels
    value: float
    since: float


def scrape_config(
    targets: Mapping[str, Sequence[str]], interval: str = "1s", rule_files: Sequence[str] = ()
) -> dict[str, Any]:
    """A configuration that scrapes services and evaluates rules equally often.

    Args:
        targets: `host:port` of each replica, by job.
        interval: of scrapes and of rule groups that name none, as Prometheus writes durations.
        rule_files: paths; those of `running_prometheus`'s `rules` need not be named.
    """
    jobs = [{"job_name": job, "static_configs": [{"targets": list(hosts)}]} for job, hosts in targets.items()]
    every = {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval}
    return {"global": every, "rule_files": list(rule_files), "scrape_configs": jobs}


def find_prometheus() -> str:
    """The path of the program.

    Raises:
        InvalidInput: it is not installed.
    """
    binary = shutil.which(BINARY)
    if binary is None:
        raise InvalidInput("no `prometheus` on the PATH; Debian's package is called prometheus: apt install prometheus")
    return binary


@contextmanager
def running_prometheus(
    config: str | Mapping[str, Any], directory: Path, rules: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Prometheus in a process of its own on a free loopback port, ready to answer.

    Args:
        config: its configuration, as YAML or as what the YAML would say; see `scrape_config`.
        directory: takes its configuration, data and log; what it finds there it goes on with.
        rules: text of rule files by their names.

    Yields:
        Its base URL.

    Raises:
        InvalidInput: it is not installed.
        CandorError: it does not become ready; the message ends with the last lines of its log.
    """
    binary = find_prometheus()
    path = _written(config, directory.resolve(), rules or {})
    address, log = f"127.0.0.1:{free_port()}", directory / "prometheus.log"
    command = [binary, f"--config.file={path}", f"--storage.tsdb.path={path.parent / 'data'}"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, f"--web.listen-address={address}"], stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            _wait(f"http://{address}", process, log)
            yield f"http://{address}"
        finally:
            stop(process)


def query(url: str, promql: str, time: float | None = None) -> list[Sample]:
    """The value of an expression at one instant.

    Args:
        url: of Prometheus.
        promql: whose result is a vector or a scalar.
        time: unix time in seconds; now if None.

    Raises:
        CandorError: it is refused, or is a range of samples (see `samples`).
    """
    found = _asked(url, "query", {"query": promql, "time": time})
    if found["resultType"] == "scalar":
        return [Sample({}, float(found["result"][1]))]
    if found["resultType"] != "vector":
        raise CandorError(f"{promql!r} is a {found['resultType']}, not a value at one instant")
    return [Sample(each["metric"], float(each["value"][1])) for each in found["result"]]


def query_range(url: str, promql: str, start: float, end: float, step: float = 1.0) -> list[Series]:
    """The values of an expression over time.

    Args:
        url: of Prometheus.
        promql: whose result is a vector or a scalar.
        start: the first instant, unix time in seconds.
        end: the last one.
        step: between two, in seconds.

    Raises:
        CandorError: it is refused.
    """
    return _series(_asked(url, "query_range", {"query": promql, "start": start, "end": end, "step": step}))


def samples(url: str, selector: str, time: float | None = None) -> list[Series]:
    """The samples as they were scraped or recorded, none between them.

    Args:
        url: of Prometheus.
        selector: with a range, as `up[5m]`.
        time: end of the range, unix time in seconds; now if None.

    Raises:
        CandorError: it is refused, or has no range.
    """
    found = _asked(url, "query", {"query": selector, "time": time})
    if found["resultType"] != "matrix":
        raise CandorError(f"{selector!r} has no range; write {selector}[5m]")
    return _series(found)


def alerts(url: str) -> list[Alert]:
    """Alerts that are pending or firing now.

    Raises:
        CandorError: Prometheus does not answer.
    """
    return [
        Alert(
            name=each["labels"]["alertname"],
            state=each["state"],
            labels={name: value for name, value in each["labels"].items() if name != "alertname"},
            annotations=each["annotations"],
            value=float(each["value"]),
            since=datetime.fromisoformat(each["activeAt"]).timestamp(),
        )
        for each in _asked(url, "alerts", {})["alerts"]
    ]


def _written(config: str | Mapping[str, Any], directory: Path, rules: Mapping[str, str]) -> Path:
    """Write the configuration and the rules; the path of the configuration."""
    content = dict(yaml.safe_load(config) if isinstance(config, str) else config)
    (directory / "rules").mkdir(parents=True, exist_ok=True)
    for name, text in rules.items():
        (directory / "rules" / name).write_text(text, encoding="utf-8")
    content["rule_files"] = [*content.get("rule_files", ()), *(str(directory / "rules" / name) for name in rules)]
    path = directory / "prometheus.yml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/-/ready", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass  # not listening yet
        time.sleep(0.1)
    last = log.read_text(errors="replace").splitlines()[-10:]
    raise CandorError("\n".join((f"prometheus did not become ready; of {log}:", *last)))


def _asked(url: str, what: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """`data` of an answer of Prometheus's HTTP API."""
    given = {name: value for name, value in parameters.items() if value is not None}
    try:
        answer = httpx.get(f"{url}/api/v1/{what}", params=given, timeout=60)
        content: dict[str, Any] = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise CandorError(f"no answer from Prometheus at {url}: {error}") from error
    if content.get("status") != "success":
        raise CandorError(f"Prometheus refuses {given.get('query', what)!r}: {content.get('error')}")
    data: dict[str, Any] = content["data"]
    return data


def _series(found: Mapping[str, Any]) -> list[Series]:
    return [
        Series(each["metric"], tuple((float(when), float(value)) for when, value in each["values"]))
        for each in found["result"]
    ]
