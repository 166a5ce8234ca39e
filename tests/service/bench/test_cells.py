"""The bench's arithmetic: percentiles, medians, ratios and targets, against numpy and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.bench import ratios
from service.bench.cells import Cell, Turn, alternate, percentile
from service.bench.setting import QUICK, Findings, ServeFigures
from vocab_index.bench.figures import parity

SECONDS = st.floats(1e-6, 1e3)


@given(st.lists(SECONDS, min_size=1, max_size=50), st.floats(0, 1))
def test_percentiles_are_numpys(values: list[float], share: float) -> None:
    assert percentile(values, share) == pytest.approx(float(np.quantile(values, share)), rel=1e-9)


def cell(rate: float, latency: float = 0.01, cpu: float = 0.001, clients: int = 1, load: str = "20 labels") -> Cell:
    """Ten requests of one turn."""
    return Cell("candor", load, clients, (Turn((latency,) * 10, 10 / rate, 10 * cpu),))


def test_a_cell_by_hand() -> None:
    turns = (
        Turn((0.1, 0.3), seconds=0.4, cpu_seconds=0.02, client_cpu_seconds=0.002, images=2, batches=1),
        Turn((0.2,) * 4, seconds=2.0, cpu_seconds=0.04, client_cpu_seconds=0.004, images=4, batches=2),
        Turn((0.5,), seconds=9.0, cpu_seconds=0.01, client_cpu_seconds=0.001, images=1, batches=1),
    )
    found = Cell("candor", "2 labels", 8, turns)
    assert found.requests == 7
    assert found.each == 0.5  # of 0.2, 0.5 and 9
    assert found.cpu == pytest.approx(0.07 / 7)
    assert found.client_cpu == pytest.approx(0.007 / 7)
    assert found.batch == 7 / 4
    assert found.latency(0.5) == 0.2
    assert found.latency(1) == 0.5
    document = found.document()
    assert document["requests_per_second"] == 2
    assert [turn["latencies"] for turn in document["turns"]] == [2, 4, 1]
    assert math.isnan(cell(1).batch)
    assert cell(1).document()["mean_batch"] is None


@pytest.mark.parametrize(("rate", "times", "met"), [(90.1, 0.901, True), (89.9, 0.899, False)])
def test_the_share_of_raw(rate: float, times: float, met: bool) -> None:
    wall, cpu = ratios.against_raw("m", cell(rate, cpu=0.02, clients=32), cell(100, cpu=0.015), 16, aim=True)
    assert wall.times == pytest.approx(times)
    assert (wall.met, cpu.met) == (met, None)
    assert cpu.times == pytest.approx(0.75)
    assert "32 clients" in wall.name
    assert "batch 16" in wall.name
    assert ratios.against_raw("m", cell(1), cell(100), 1, aim=False)[0].met is None


@pytest.mark.parametrize(("rate", "met"), [(3.01, True), (2.99, False)])
def test_the_pipeline(rate: float, met: bool) -> None:
    figure = ratios.against_pipeline("m", cell(rate), cell(1), aim=True)
    assert figure.times == pytest.approx(rate)
    assert figure.met is met


@pytest.mark.parametrize(("cpu", "met"), [(0.0124, True), (0.0126, False)])
def test_cpu_beside_the_model(cpu: float, met: bool) -> None:
    figure = ratios.beside_model("m", cell(1, cpu=cpu), cell(1, cpu=0.010), 4)
    assert figure.value == pytest.approx(cpu - 0.010)
    assert figure.met is met


@pytest.mark.parametrize(("latency", "met"), [(0.1049, True), (0.1051, False)])
def test_many_labels(latency: float, met: bool) -> None:
    many, few = cell(1, latency, load="1000 labels"), cell(1, 0.1, load="2 labels")
    assert ratios.many_labels("m", many, few, aim=True).met is met


@pytest.mark.parametrize(("latency", "met"), [(0.1099, True), (0.1101, False)])
def test_batching_a_single_caller(latency: float, met: bool) -> None:
    assert ratios.against_unbatched("m", cell(1, latency), cell(1, 0.1)).met is met


def test_the_empty_route() -> None:
    wall, cpu = ratios.against_empty("m", cell(100, cpu=0.004), cell(400, cpu=0.001))
    assert (wall.times, cpu.times) == (pytest.approx(0.25), pytest.approx(0.25))


def test_turns_alternate() -> None:
    order: list[str] = []
    found = alternate({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3)
    assert "".join(order) == "ababab"
    assert {name: len(turns) for name, turns in found.items()} == {"a": 3, "b": 3}


def test_a_wrong_answer_is_no_missed_target() -> None:
    findings = Findings(lambda _: None, [cell(1), cell(2)], [ratios.against_pipeline("m", cell(1), cell(1), aim=True)])
    right = ServeFigures.of(QUICK, findings)
    assert right.equal
    assert [figure.section for figure in right.missed] == ["m"]
    assert right.figures[-1].name == "wrong of 20 requests"
    findings.wrong = 1
    assert not ServeFigures.of(QUICK, findings).equal
    findings.wrong = 0
    findings.figures.append(parity("m", "probabilities", math.nan, 1e-4))
    assert not ServeFigures.of(QUICK, findings).equal
    assert right.document()["missed"] == 1
