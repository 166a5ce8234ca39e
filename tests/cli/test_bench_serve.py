"""`candor bench serve`: targets are wishes, wrong answers are failures, and the whole of it runs against real services."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from cli.main import app
from service.bench.cells import Cell, Turn
from service.bench.report import count_parts
from service.bench.setting import QUICK, ServeFigures, Setting
from vocab_index.bench.figures import Figure, parity

OURS = ("candor", "candor, batches of 1", "candor, 1 thread", "candor with a vocabulary", "empty route")
CELL = Cell("candor", "2 labels", 8, (Turn((0.0125,) * 20, 0.5, 0.06, 0.012, images=20, batches=8),))


def found(*figures: Figure) -> ServeFigures:
    return ServeFigures(QUICK, (CELL,), (Figure("glyph-clip", "an image", 0.025, baseline=0.02, least_times=0.9), *figures))


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[[ServeFigures], list[Setting]]:
    """Puts figures in the place of what would be measured; the settings that were asked for."""
    asked: list[Setting] = []

    def put(figures: ServeFigures) -> list[Setting]:
        monkeypatch.setattr("cli.bench.serve.bench_serve", lambda setting, *_: (asked.append(setting), figures)[1])
        return asked

    return put


def test_a_missed_target_is_shown_and_no_failure(measured: Callable[[ServeFigures], list[Setting]]) -> None:
    asked = measured(found(parity("answers", "wrong of 20 requests", 0, 0)))
    shown = CliRunner().invoke(app, ["bench", "serve", "--quick", "--threads", "1"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    for text in ("40.0", "12.50", "3.00", "0.60", "2.5", "25 ms", "20 ms", "0.80x", ">= 0.9x", "MISS", "1 of 2 targets"):
        assert text in shown.output
    assert (asked[0].threads, asked[0].model, asked[0].seconds) == (1, None, QUICK.seconds)


@pytest.mark.parametrize("wrong", [parity("answers", "wrong of 20", 1, 0), parity("m", "probabilities", 2e-4, 1e-4)])
def test_a_wrong_answer_is_a_failure(wrong: Figure, measured: Callable[[ServeFigures], list[Setting]]) -> None:
    asked = measured(found(wrong))
    failed = CliRunner().invoke(app, ["bench", "serve", "--seconds", "1.5", "--turns", "7", "--json"])
    assert failed.exit_code == 1
    assert f"{wrong.section}: {wrong.name}" in failed.stderr
    document = json.loads(failed.stdout)
    assert document["equal"] is False
    assert document["cells"][0]["requests_per_second"] == 40
    assert (asked[0].model, asked[0].seconds, asked[0].turns) == ("ViT-B-32", 1.5, 7)


def test_settings_that_would_change_what_is_measured_are_refused(
    measured: Callable[[ServeFigures], list[Setting]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = measured(found())
    monkeypatch.setenv("CANDOR_ARTIFACT", "runs/demo/artifact")
    refused = CliRunner().invoke(app, ["bench", "serve", "--quick"])
    assert refused.exit_code == 2
    assert "CANDOR_ARTIFACT" in refused.stderr
    assert asked == []


@pytest.mark.e2e
@pytest.mark.slow
def test_the_quick_bench_runs_against_real_services() -> None:
    result = CliRunner().invoke(app, ["bench", "serve", "--quick", "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["equal"] is True
    services = {cell["service"] for cell in document["cells"]}
    assert {service for service in services if "encode_image" not in service} == {f"{ours}, glyph-clip" for ours in OURS}
    for cell in document["cells"]:
        assert 0 < cell["p50_seconds"] <= cell["p95_seconds"] <= cell["p99_seconds"] < 30
        assert cell["requests_per_second"] > 0.1
        unbatched = cell["service"].startswith("candor, batches of 1")
        assert cell["mean_batch"] is None or 1 <= cell["mean_batch"] <= (1 if unbatched else cell["clients"])
    batched = {cell["service"] for cell in document["cells"] if cell["mean_batch"] is not None}
    assert batched == {f"{ours}, glyph-clip" for ours in OURS if "empty" not in ours}
    loads = [(cell["load"], cell["clients"]) for cell in document["cells"] if cell["service"] == "candor, glyph-clip"]
    assert {("2 labels", 1), ("2 labels", 3), ("20 labels", 3), ("2 labels, never seen", 1)} <= set(loads)
    assert (
        sum(figure["met"] is not None for figure in document["figures"]) == 6
    )  # CPU twice, batching, counting twice, wrong answers


def test_parts_are_counted() -> None:
    assert count_parts(QUICK) == 7
    assert count_parts(Setting()) == 14
