"""Starting the real service as a process, and stopping it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from candor.errors import CandorError

PACKAGE_ROOT = Path(__file__).resolve().parent.parent
SERVICE = "service.service:Candor"
START_TIMEOUT = 120.0  # seconds
CANNOT_START = "cannot start"  # in what the service logs before it gives up


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def service_command(host: str, port: int, target: str = SERVICE) -> list[str]:
    """The command that runs the service with BentoML.

    Args:
        host: address to listen on.
        port: TCP port.
        target: what to serve: the service of this tree, or the tag of a bento.
    """
    command = [sys.executable, "-m", "bentoml", "serve", target, "--host", host, "--port", str(port)]
    return [*command, "--working-dir", str(PACKAGE_ROOT)] if target == SERVICE else command


def service_environment(
    artifact: Path | None, index: Path | None, bentoml_home: Path, environment: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The environment of the service's process.

    Args:
        artifact: of the prompt; None serves zero-shot.
        index: vocabulary; None gives no nearest labels.
        bentoml_home: a directory of this server's own: two servers in one would erase each other's metrics.
        environment: more variables (`CANDOR_...`), over all others.
    """
    variables = os.environ | {
        "BENTOML_HOME": str(bentoml_home),
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_CONTAINERIZED": "true",  # as in its containers: a worker that cannot load is not started again for ever
    }
    for name, path in (("CANDOR_ARTIFACT", artifact), ("CANDOR_INDEX", index)):
        if path is not None:
            variables[name] = str(path.resolve())
    return variables | dict(environment or {})


@contextmanager
def running_service(
    artifact: Path | None,
    index: Path | None,
    log: Path,
    target: str = SERVICE,
    home: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """The service in a process of its own on a free loopback port, ready to answer.

    Args:
        artifact: as in `service_environment`.
        index: as in `service_environment`.
        log: file that takes its output.
        target: as in `service_command`.
        home: BENTOML_HOME; a temporary one if None.
        environment: as in `service_environment`; CANDOR_STATE is a temporary directory unless it says otherwise.

    Yields:
        Its base URL.

    Raises:
        CandorError: it does not become ready; the message says why, or ends with the last lines of its log.
    """
    port = free_port()
    with tempfile.TemporaryDirectory() as own, log.open("wb") as output:
        more = {"CANDOR_STATE": str(Path(own) / "state")} | dict(environment or {})
        process = subprocess.Popen(
            service_command("127.0.0.1", port, target),
            env=service_environment(artifact, index, home or Path(own) / "bentoml", more),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            wait_until_ready(f"http://127.0.0.1:{port}", process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            stop(process)


def wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a service answers /readyz.

    Raises:
        CandorError: its process ended, or START_TIMEOUT passed.
    """
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/readyz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass  # not listening yet
        time.sleep(0.2)
    lines = log.read_text(errors="replace").splitlines()
    told = [line for line in lines if CANNOT_START in line] or lines[-15:]  # BentoML's own traceback would hide it
    raise CandorError("\n".join((f"the service did not become ready; of {log}:", *told)))


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask a server that leads a process group to end with its workers, and make them after ten seconds."""
    for sign, patience in ((signal.SIGINT, 10), (signal.SIGKILL, 10)):
        if process.poll() is None:
            os.killpg(process.pid, sign)
        try:
            process.wait(patience)
            return
        except subprocess.TimeoutExpired:
            continue
