"""Clients that people use, unchanged, against the real service: curl, httpx, Hugging Face's, BentoML's and a browser."""

from __future__ import annotations

import base64
import html
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

from glyph_world.render import Scene, render

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

LABELS = ["red umbrella", "blue anchor"]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def png(pictogram: str = "umbrella", colour: str = "red", seed: int = 3) -> bytes:
    buffer = BytesIO()
    render(Scene(pictogram, colour, "drawing", seed)).save(buffer, "PNG")
    return buffer.getvalue()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_with_a_key(guarded: str, key: str, tmp_path: Path) -> None:
    (tmp_path / "some.png").write_bytes(png())
    form = ["-F", f"image=@{tmp_path}/some.png", *(part for label in LABELS for part in ("-F", f"labels={label}"))]
    command = ["curl", "-sS", "-w", "\n%{http_code}", *form, f"{guarded}/v1/classify"]

    def run(*more: str) -> tuple[Any, str]:
        output = subprocess.run([*command, *more], capture_output=True, check=True, text=True).stdout
        body, _, status = output.rpartition("\n")
        return json.loads(body), status

    answer, status = run("-H", f"Authorization: Bearer {key}")
    assert (answer["results"][0]["label"], status) == ("red umbrella", "200")
    answer, status = run()
    assert (answer["error"]["code"], status) == ("unauthorized", "401")


def test_httpx_keeps_its_connection(guarded: str, key: str) -> None:
    headers = {"X-API-Key": key}
    with httpx.Client(base_url=guarded, headers=headers, timeout=60) as client:
        for sign, colour in (("umbrella", "red"), ("anchor", "blue")):
            body = {"image": b64(png(sign, colour)), "labels": LABELS, "top_k": 1}
            result = client.post("/v1/classify", json=body).raise_for_status().json()["results"][0]
            assert [score["label"] for score in result["scores"]] == [f"{colour} {sign}"]


def test_hugging_faces_client(guarded: str, key: str) -> None:
    client = InferenceClient(model=f"{guarded}/v1/hf", token=key)
    scores = client.zero_shot_image_classification(png(), candidate_labels=["blue anchor", "red umbrella"])
    assert [score.label for score in scores] == LABELS  # the highest score first
    body = {"image": b64(png()), "labels": LABELS}
    headers = {"X-API-Key": key}
    wanted = httpx.post(f"{guarded}/v1/classify", json=body, headers=headers, timeout=60).json()["results"][0]
    assert scores[0].score == pytest.approx(wanted["confidence"], abs=1e-5)
    assert sum(score.score for score in scores) == pytest.approx(1, abs=1e-5)
    stranger = InferenceClient(model=f"{guarded}/v1/hf", token="wrong")
    with pytest.raises(HfHubHTTPError, match="401"):
        stranger.zero_shot_image_classification(png(), candidate_labels=LABELS)


def test_bentomls_client(guarded: str, key: str) -> None:
    """In a process of its own: importing BentoML here would leave its warnings to all other tests."""
    good, bad = {"image": b64(png()), "labels": LABELS, "top_k": 1}, {"image": "no image", "labels": LABELS}
    items = [good, bad, {**good, "image": b64(png("anchor", "blue"))}, 7]
    script = (
        "import bentoml, json, sys\n"
        "given = json.load(sys.stdin)\n"
        "with bentoml.SyncHTTPClient(given['url'], token=given['key']) as client:\n"
        "    answers = [client.classify_batch(items=items) for items in given['calls']]\n"
        "print(json.dumps(answers))"
    )
    given = json.dumps({"url": guarded, "key": key, "calls": [items, []]})
    done = subprocess.run(
        [sys.executable, "-c", script], input=given, capture_output=True, text=True, timeout=120, check=True
    )
    answers, none = json.loads(done.stdout)
    assert none == []
    assert [answer.get("label") for answer in answers] == ["red umbrella", None, "blue anchor", None]
    assert [answer.get("error", {}).get("code") for answer in answers] == [None, "invalid", None, "invalid"]
    headers = {"X-API-Key": key}
    wanted = httpx.post(f"{guarded}/v1/classify", json=good, headers=headers, timeout=60).raise_for_status().json()
    assert answers[0]["artifact"] == wanted["artifact"]
    assert answers[0]["confidence"] == pytest.approx(wanted["results"][0]["confidence"], abs=1e-5)


def test_a_bad_item_never_fails_another_callers_batch(guarded: str, key: str) -> None:
    """BentoML joins callers; its optimiser only does so after about eleven requests."""
    good, bad = {"image": b64(png()), "labels": LABELS, "open_set": False}, {"image": b64(b"no image"), "labels": LABELS}

    def ask(number: int) -> bool:
        items = [bad if (number + place) % 3 == 0 else good for place in range(number % 5 + 1)]
        headers = {"X-API-Key": key}
        response = httpx.post(f"{guarded}/classify_batch", json={"items": items}, headers=headers, timeout=60)
        codes = [answer.get("error", {}).get("code") for answer in response.raise_for_status().json()]
        return codes == ["not_an_image" if item is bad else None for item in items]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(40)))


@pytest.mark.parametrize(
    "body",
    [b"{", b"", b"[1]", b"{}", b'{"items": 3}', b"\xff\xfe", b'{"items": ["\\ud800"]}'],
)
def test_a_batch_that_is_none_is_refused_in_our_words(guarded: str, key: str, body: bytes) -> None:
    headers = {"X-API-Key": key, "content-type": "application/json"}
    response = httpx.post(f"{guarded}/classify_batch", content=body, headers=headers, timeout=60)
    assert response.status_code == 400
    assert response.json()["error"].keys() == {"code", "message", "field"}
    assert response.json()["error"]["code"] == "malformed"


@pytest.mark.parametrize("body", [b'{"items": ' + b"[" * 100_000, json.dumps({"items": [1] * 6}).encode()])
def test_a_batch_of_too_much_is_refused_before_bentoml_reads_it(guarded: str, key: str, body: bytes) -> None:
    headers = {"X-API-Key": key, "content-type": "application/json"}
    response = httpx.post(f"{guarded}/classify_batch", content=body, headers=headers, timeout=60)
    assert (response.status_code, response.json()["error"]["code"]) == (413, "too_large")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def page_server(directory: Path, port: int) -> Iterator[str]:
    """A web page of another origin than the service."""
    with ThreadingHTTPServer(("127.0.0.1", port), partial(Quiet, directory=str(directory))) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def browsed(page: str, tmp_path: Path) -> Any:
    """What the page wrote into itself, in a real browser."""
    assert CHROMIUM
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        f"--user-data-dir={tmp_path}/profile",
    ]
    command = [CHROMIUM, *flags, "--virtual-time-budget=60000", "--dump-dom", page]
    dom = subprocess.run(command, capture_output=True, check=True, text=True, timeout=120).stdout
    found = re.search(r'<pre id="out">(.*?)</pre>', dom, re.DOTALL)
    assert found, dom
    return json.loads(html.unescape(found.group(1)))


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_a_browser_asks_from_an_origin_that_cors_allows_and_from_no_other(
    guarded: str, key: str, origin: str, tmp_path: Path
) -> None:
    web = tmp_path / "web"
    web.mkdir()
    (web / "some.png").write_bytes(png())
    shutil.copy(Path(__file__).parent / "browser_page.html", web / "page.html")
    query = urlencode({"service": guarded, "key": key})
    allowed_port = urlsplit(origin).port
    assert allowed_port
    with page_server(web, allowed_port) as allowed:
        assert allowed == origin
        found = browsed(f"{allowed}/page.html?{query}", tmp_path)
    assert found["multipart"]["results"][0]["label"] == "red umbrella"
    assert found["json"]["results"][0]["label"] == "red umbrella"
    assert found["request_id"]
    status, refused = found["refused"]  # a page can read why it was refused
    assert (status, refused["error"]["code"]) == (401, "unauthorized")
    with page_server(web, 0) as other:
        assert browsed(f"{other}/page.html?{query}", tmp_path) == {"failed": "TypeError: Failed to fetch"}
