"""`candor watch`: looks, says, and with --auto acts; against a small HTTP server, and once against the real service."""

from __future__ import annotations

import errno
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from candor.clip import PromptArtifact, load_artifact
from candor.errors import InvalidInput
from cli.main import app
from cli.running_service import RunningService
from cli.server import running_service
from service.feedback.store import Feedback

Receipts = Callable[..., list[Feedback]]
Filled = Callable[..., Path]
runner = CliRunner()
KEY = "an-admin-key-of-the-test"


class Service(ThreadingHTTPServer):
    """The two routes that are asked, as the service answers them."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.active, self.broken, self.asked = "", False, [("", "", "")]
        self.behind: list[str] = []  # what workers that follow later still say
        self.follows: list[str] = []  # the same, after the next activation

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Service

    def do_GET(self) -> None:
        active = self.server.behind.pop() if self.server.behind else self.server.active
        self._answer(200, {"active": active, "artifacts": []})

    def do_POST(self) -> None:
        tag = self.path.split("/")[3]
        if self.server.broken:
            self._answer(409, {"error": {"code": "conflict", "message": "another activation is under way", "field": None}})
        else:
            self.server.active = tag
            self.server.behind = self.server.follows[:]
            self._answer(200, {"tag": tag, "active": True})

    def _answer(self, status: int, document: dict[str, Any]) -> None:
        self.server.asked.append((self.command, self.path, self.headers.get("Authorization", "")))
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def service(tuned: PromptArtifact) -> Iterator[Service]:
    with Service() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        server.active = tuned.tag
        yield server
        server.shutdown()
        thread.join()


def run(tmp_path: Path, url: str, *arguments: object, key: str = KEY) -> tuple[int, str, str]:
    options = ["--url", url, "--from-feedback", tmp_path / "f.db", "--artifacts", tmp_path, *arguments]
    result = runner.invoke(app, ["watch", *map(str, options)], env={"CANDOR_ADMIN_KEY": key})
    return result.exit_code, result.stdout, result.stderr


def test_it_says_what_healing_would_bring_and_changes_nothing(
    tmp_path: Path, tuned: PromptArtifact, service: Service, receipts: Receipts, filled: Filled
) -> None:
    filled(tmp_path / "f.db", receipts(tuned.tag, "new", 2_000, 2.5))
    code, out, _ = run(tmp_path, service.url, "--once")
    assert code == 0
    assert f" {tuned.tag}: base keeps its calibrator: 0 labelled predictions" in out
    assert "new is healed: fitted to 1400 predictions" in out
    assert "a better calibrator is there: candor calibrate --from-feedback writes it" in out
    assert len(out.splitlines()) == 1
    document = json.loads(run(tmp_path, service.url, "--once", "--json")[1])
    assert document["calibrator"]["new"] == pytest.approx(2.5, rel=0.1)
    assert {method for method, _, _ in service.asked[1:]} == {"GET"}
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["a"]


def test_auto_writes_activates_and_then_has_nothing_to_do(
    tmp_path: Path, tuned: PromptArtifact, service: Service, receipts: Receipts, filled: Filled
) -> None:
    filled(tmp_path / "f.db", receipts(tuned.tag, "new", 2_000, 2.5))
    code, out, _ = run(tmp_path, service.url, "--once", "--auto", "--json")
    document = json.loads(out)
    assert code == 0
    healed = load_artifact(tmp_path / document["healed_tag"])
    assert healed.tag == document["healed_tag"] == service.active
    assert healed.config.calibrator.model_dump() == document["calibrator"]
    assert document["advice"] == f"written to {tmp_path / healed.tag} and activated; {tuned.tag} is kept"
    assert load_artifact(tmp_path / "a").config == tuned.config
    assert service.asked[-2] == ("POST", f"/v1/artifacts/{healed.tag}/activate", f"Bearer {KEY}")
    again = json.loads(run(tmp_path, service.url, "--once", "--auto", "--json")[1])
    assert (again["tag"], again["advice"]) == (healed.tag, "nothing to do")
    assert again["refusal"].startswith("base: 0 labelled predictions to fit to")


def test_other_workers_may_follow_a_little_later(
    tmp_path: Path, tuned: PromptArtifact, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.running_service.POLL", 0.01)
    service.follows = [tuned.tag, tuned.tag]
    RunningService(service.url).activate("healed")
    assert [method for method, _, _ in service.asked[1:]] == ["POST", "GET", "GET", "GET"]
    monkeypatch.setattr("cli.running_service.FOLLOWED", 0.0)
    with pytest.raises(InvalidInput, match=f"asked to activate healed, but answers with {tuned.tag}"):
        RunningService(service.url).activate("healed")


def test_a_full_disk_ends_it_and_the_old_artifact_stays(
    tmp_path: Path,
    tuned: PromptArtifact,
    service: Service,
    receipts: Receipts,
    filled: Filled,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    filled(tmp_path / "f.db", receipts(tuned.tag, "new", 2_000, 2.5))
    monkeypatch.setattr("cli.watch.Look.write", full)
    code, out, err = run(tmp_path, service.url, "--auto", "--every", "1s")
    assert (code, out) == (1, "")
    assert f"{tuned.tag} stays: coop-" in err
    assert "No space left on device" in err
    monkeypatch.setattr("cli.watch.look", full)
    code, _, err = run(tmp_path, service.url, "--once")
    assert (code, "No space left on device" in err) == (1, True)
    assert service.active == tuned.tag


def test_it_ends_after_an_activation_that_failed(
    tmp_path: Path, tuned: PromptArtifact, service: Service, receipts: Receipts, filled: Filled
) -> None:
    filled(tmp_path / "f.db", receipts(tuned.tag, "new", 2_000, 2.5))
    service.broken = True
    code, out, err = run(tmp_path, service.url, "--auto", "--every", "1s")  # it would look for ever
    assert (code, out) == (1, "")
    assert f"{tuned.tag} stays: coop-" in err
    assert "answers 409: another activation is under way" in err
    assert KEY not in err
    assert service.active == tuned.tag
    service.broken = False  # what was written is used
    assert json.loads(run(tmp_path, service.url, "--once", "--auto", "--json")[1])["healed_tag"] == service.active


def test_what_cannot_be_looked_at(
    tmp_path: Path, tuned: PromptArtifact, service: Service, receipts: Receipts, filled: Filled
) -> None:
    filled(tmp_path / "f.db")
    for active, message in (
        ("zero-shot", "the service answers without an artifact, so there is no calibrator to heal"),
        ("coop-elsewhere", f"{tmp_path} holds no artifact coop-elsewhere, which the service answers with"),
    ):
        service.active = active
        code, _, err = run(tmp_path, service.url, "--once")
        assert (code, message in err) == (1, True)
    (tmp_path / "f.db").unlink()
    service.active = tuned.tag
    code, out, _ = run(tmp_path, service.url, "--once", "--json")
    assert (code, json.loads(out)["error"]) == (1, f"there is no feedback database {tmp_path / 'f.db'}")


def test_a_service_that_is_away_is_asked_again(
    tmp_path: Path, tuned: PromptArtifact, service: Service, filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path / "f.db")
    ask, pauses = httpx.request, []

    def away_at_first(*args: Any, **kwargs: Any) -> httpx.Response:
        if not pauses:
            raise httpx.ConnectError("refused")
        return ask(*args, **kwargs)

    def pause(length: float) -> None:
        pauses.append(length)
        if len(pauses) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("cli.running_service.httpx.request", away_at_first)
    monkeypatch.setattr("cli.watch.time.sleep", pause)
    code, out, err = run(tmp_path, service.url, "--every", "15m")
    assert (code, pauses) == (130, [900, 900])
    assert f"{service.url} does not answer: refused" in err
    assert f"{tuned.tag}: base keeps its calibrator" in out


@pytest.mark.parametrize(
    ("url", "arguments", "message"),
    [
        ("file:///etc/passwd", [], "is no URL of a service"),
        ("http://me:secret@127.0.0.1", [], "the service's URL holds a user"),
        ("http://127.0.0.1:1", ["--every", "often"], "'often' is no duration"),
        ("http://127.0.0.1:1", ["--since", "ever"], "'ever' is no duration"),
        ("http://127.0.0.1:1", ["--key-file", "{here}/none"], "cannot read"),
        ("http://127.0.0.1:1", ["--key-file", "{here}/two"], "two holds no API key"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path: Path, url: str, arguments: list[str], message: str) -> None:
    (tmp_path / "two").write_text("one\nsecret\n")
    code, _, err = run(tmp_path, url, "--once", *(argument.replace("{here}", str(tmp_path)) for argument in arguments))
    assert (code, message in err, len(err.strip().splitlines())) == (2, True, 1)
    assert "secret" not in err


def test_a_key_from_a_file(
    tmp_path: Path, tuned: PromptArtifact, service: Service, receipts: Receipts, filled: Filled
) -> None:
    filled(tmp_path / "f.db")
    (tmp_path / "key").write_text("of-the-file\n")
    assert run(tmp_path, service.url, "--once", "--key-file", tmp_path / "key")[0] == 0
    assert service.asked[-1][2] == "Bearer of-the-file"
    assert run(tmp_path, service.url, "--once", key="")[0] == 0
    assert service.asked[-1][2] == ""


@pytest.mark.slow
@pytest.mark.e2e
def test_the_real_service_answers_with_the_healed_version(
    tmp_path: Path, tuned_glyphs: PromptArtifact, receipts: Receipts, filled: Filled
) -> None:
    keys = tmp_path / "keys.json"
    made = runner.invoke(app, ["keys", "add", "boss", "--file", str(keys), "--role", "admin"])
    key = made.stdout.strip()
    filled(tmp_path / "f.db", receipts(tuned_glyphs.tag, "new", 2_000, 2.5))
    environment = {
        "CANDOR_KEYS": str(keys),
        "CANDOR_ARTIFACTS": str(tmp_path),
        "CANDOR_STATE": str(tmp_path / "state"),
        "CANDOR_FEEDBACK": f"sqlite:///{tmp_path / 'f.db'}",
        "CANDOR_THREADS": "1",
        "CANDOR_MAX_BATCH": "4",
    }
    with running_service(tuned_glyphs.path, None, tmp_path / "log", environment=environment) as url:
        assert run(tmp_path, url, "--once", "--auto", key="")[0] == 1  # without a key
        code, out, err = run(tmp_path, url, "--once", "--auto", "--json", key=key)
        assert (code, err) == (0, "")
        tag = json.loads(out)["healed_tag"]
        active = httpx.get(f"{url}/v1/artifacts", headers={"Authorization": f"Bearer {key}"}).json()["active"]
        assert active == tag == load_artifact(tmp_path / tag).tag
