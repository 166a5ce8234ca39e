"""A real BentoML server in a real process, asked over HTTP."""

from __future__ import annotations

import base64
import json
import shutil
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cli.server import free_port, wait_until_ready
from glyph_world.render import Scene, render

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

COLOURS = ["red umbrella", "blue anchor", "yellow snowman", "green heart"]
EMBLEMS = ["caduceus", "peace symbol", "yin yang", "snowman"]


def png(pictogram: str, colour: str, seed: int = 3) -> bytes:
    buffer = BytesIO()
    render(Scene(pictogram, colour, "drawing", seed)).save(buffer, "PNG")
    return buffer.getvalue()


def classified(url: str, picture: bytes, labels: list[str], **options: str) -> dict[str, Any]:
    """The answer for one picture."""
    data = {"labels": json.dumps(labels), **options}
    response = httpx.post(f"{url}/v1/classify", files={"image": ("x.png", picture)}, data=data, timeout=120)
    result: dict[str, Any] = response.raise_for_status().json()["results"][0]
    return result


def same(found: Any, expected: Any) -> bool:
    """Equal, and numbers to 1e-5; each answer has a receipt of its own."""
    if isinstance(expected, dict):
        equal = (key for key in expected if key != "prediction_id")
        return found.keys() == expected.keys() and all(same(found[key], expected[key]) for key in equal)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    return bool(found == pytest.approx(expected, abs=1e-5, rel=0)) if isinstance(expected, float) else found == expected


def sample(url: str, name: str, **labels: str) -> float:
    families = text_string_to_metric_families(httpx.get(f"{url}/metrics").text)
    return sum(s.value for f in families for s in f.samples if s.name == name and labels.items() <= s.labels.items())


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_gets_a_calibrated_answer(service: str, tmp_path: Path) -> None:
    (tmp_path / "some.png").write_bytes(png("umbrella", "red"))
    command = [
        "curl",
        "-sS",
        "-F",
        f"image=@{tmp_path}/some.png",
        "-F",
        f"labels={json.dumps(COLOURS)}",
        f"{service}/v1/classify",
    ]
    answer = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    assert answer["artifact"].startswith("coop+dor-")
    result = answer["results"][0]
    assert result["label"] == "red umbrella"
    assert result["confidence"] > 0.5
    nearest = result["open_set"]["nearest"][0]
    assert (nearest["label"], nearest["source"]) == ("red umbrella", "labels")
    assert (result["open_set"]["method"], result["open_set"]["known"]) == ("neglabel", True)
    assert result["label_set"]["text_deviation"] > 0


def test_another_label_set_with_tuned_and_new_labels(service: str) -> None:
    body = {"image": base64.b64encode(png("snowman", "white")).decode(), "labels": EMBLEMS}
    answer = httpx.post(f"{service}/v1/classify", json=body).raise_for_status().json()
    result = answer["results"][0]
    assert (result["label"], result["scope"]) == ("snowman", "new")
    body["image"] = base64.b64encode(png("caduceus", "black")).decode()
    result = httpx.post(f"{service}/v1/classify", json=body).raise_for_status().json()["results"][0]
    assert (result["label"], result["scope"]) == ("caduceus", "base")


def test_a_bad_image_is_a_415_and_the_service_goes_on(service: str) -> None:
    files = {"image": ("x.png", png("sun", "red")[:100])}
    refused = httpx.post(f"{service}/v1/classify", files=files, data={"labels": '["sun", "moon"]'})
    assert refused.status_code == 415
    assert refused.json()["error"]["code"] == "not_an_image"
    assert httpx.get(f"{service}/livez").status_code == httpx.get(f"{service}/readyz").status_code == 200


def test_metrics_add_up(service: str) -> None:
    before = {scope: sample(service, "candor_predictions_total", scope=scope) for scope in ("base", "new")}
    summed = sample(service, "candor_confidence_sum")
    files = {"image": ("x.png", png("heart", "green"))}
    answers = [
        httpx.post(f"{service}/v1/classify", files=files, data={"labels": json.dumps(labels)}).json()["results"][0]
        for labels in (COLOURS, COLOURS, EMBLEMS)
    ]
    for scope in ("base", "new"):
        expected = before[scope] + sum(a["scope"] == scope for a in answers)
        assert sample(service, "candor_predictions_total", scope=scope) == expected
        assert sample(service, "candor_confidence_count", scope=scope) == expected
    assert sample(service, "candor_confidence_sum") == pytest.approx(summed + sum(a["confidence"] for a in answers))


def test_an_unlisted_pictogram_is_unknown_and_a_listed_one_known(service: str) -> None:
    for sign, colour in (("umbrella", "red"), ("anchor", "blue"), ("snowman", "yellow"), ("heart", "green")):
        result = classified(service, png(sign, colour), COLOURS)
        assert (result["label"], result["open_set"]["known"]) == (f"{colour} {sign}", True)
    for sign, colour in (("telephone", "black"), ("peace symbol", "red"), ("cat face", "black")):
        listed = [*COLOURS, f"{colour} {sign}"]
        assert classified(service, png(sign, colour), COLOURS)["open_set"]["known"] is False
        assert classified(service, png(sign, colour), listed)["open_set"]["known"] is True
    assert classified(service, png("umbrella", "red"), COLOURS, template="a {}.")["open_set"]["known"] is None
    assert classified(service, png("umbrella", "red"), COLOURS, open_set="false")["open_set"] is None


def test_lookup_names_what_the_picture_shows(service: str) -> None:
    files = [("image", ("x.png", png("umbrella", "red"))), ("image", ("y.png", png("anchor", "blue")))]
    answer = httpx.post(f"{service}/v1/lookup", files=files, data={"k": "7"}, timeout=120).raise_for_status().json()
    assert answer["vocabulary"] == "glyphs"
    for result, name in zip(answer["results"], ("red umbrella", "blue anchor"), strict=True):
        words = [word["label"] for word in result["nearest"]]
        assert len(words) == len(set(words)) == 7
        assert name in words
        assert [word["metadata"] for word in result["nearest"]] == [{}] * 7  # the glyphs' phrases have none


def test_32_clients_get_the_open_set_answers_of_one(service: str) -> None:
    pictures = [png(sign, colour, seed=5) for sign in ("umbrella", "telephone", "cat face") for colour in ("red", "black")]
    label_sets = [COLOURS, EMBLEMS, [*EMBLEMS, "telephone"], [f"{colour} umbrella" for colour in ("red", "black", "teal")]]
    options: list[dict[str, str]] = [{}, {}, {}, {"template": "a {}."}]
    questions = [(p, labels, option) for p in pictures for labels, option in zip(label_sets, options, strict=True)]

    def ask(number: int) -> dict[str, Any]:
        picture, labels, option = questions[number % len(questions)]
        return classified(service, picture, labels, **option)

    def counted() -> dict[str, float]:
        return {known: sample(service, "candor_predictions_total", known=known) for known in ("true", "false", "unscored")}

    def scores() -> tuple[float, float]:
        return sample(service, "candor_open_set_score_count"), sample(service, "candor_open_set_score_sum")

    expected = [ask(number) for number in range(len(questions))]
    before, (count, total) = counted(), scores()
    numbers = [7 * i for i in range(4 * len(questions) + 3)]  # neighbours in time ask different things
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(ask, numbers))
    for number, answer in zip(numbers, answers, strict=True):
        assert same(answer, expected[number % len(questions)]), questions[number % len(questions)][1:]
    known = Counter({True: "true", False: "false", None: "unscored"}[answer["open_set"]["known"]] for answer in answers)
    assert min(known[k] for k in before) > 0
    assert {k: n - before[k] for k, n in counted().items()} == known
    # an answer under a template of the caller's says nothing about the artifact
    watched = [a for number, a in zip(numbers, answers, strict=True) if not questions[number % len(questions)][2]]
    assert scores()[0] == count + len(watched)
    assert scores()[1] == pytest.approx(total + sum(answer["open_set"]["score"] for answer in watched))


def test_the_openapi_document_describes_open_set_and_lookup(service: str) -> None:
    document = httpx.get(f"{service}/v1/openapi.json").raise_for_status().json()
    assert {"/v1/classify", "/v1/lookup"} <= document["paths"].keys()
    open_set = classified(service, png("umbrella", "red"), COLOURS)["open_set"]
    assert set(document["components"]["schemas"]["OpenSet"]["properties"]) == set(open_set)
    assert set(document["components"]["schemas"]["Nearest"]["properties"]) == set(open_set["nearest"][0])


def test_paths_of_callers_do_not_become_series(service: str) -> None:
    size = len(httpx.get(f"{service}/metrics").text)
    for i in range(30):
        assert httpx.get(f"{service}/v1/{i}").status_code == 404
        httpx.get(f"{service}/elsewhere/{i}")
    assert len(httpx.get(f"{service}/metrics").text) < size + 200


def test_candor_serve_stops_with_its_server(built: Path, tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-c", "from cli.main import main; main()", "serve", "--artifact", str(built / "artifact")]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([*command, "--port", str(port)], stdout=log, stderr=log)
    wait_until_ready(f"http://127.0.0.1:{port}", process, tmp_path / "log")
    process.send_signal(signal.SIGTERM)
    process.wait(30)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/livez")


def test_concurrent_callers_get_their_own_answers(service: str) -> None:
    questions = [(sign, colour) for sign in ("umbrella", "anchor", "heart", "snowman") for colour in ("red", "blue")]
    labels = [f"{colour} {sign}" for sign, colour in questions]

    def ask(number: int) -> bool:
        sign, colour = questions[number % len(questions)]
        files = {"image": ("x.png", png(sign, colour, seed=11))}
        chosen = labels[number % 3 :]  # some label sets lack the answer; every caller's are another set
        data = {"labels": json.dumps(chosen), "open_set": "false"}
        response = httpx.post(f"{service}/v1/classify", files=files, data=data, timeout=60)
        scores = {s["label"] for s in response.json()["results"][0]["scores"]}
        return response.status_code == 200 and scores == set(chosen)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(40)))
