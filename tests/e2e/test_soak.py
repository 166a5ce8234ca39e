"""The soak tool in its shortest form, against a service that it starts itself."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_thirty_seconds() -> None:
    """Whether memory is steady, half a minute cannot tell: caches are still being filled. That all is answered, it can."""
    command = [
        sys.executable,
        "-c",
        "from cli.main import main; main()",
        "bench",
        "soak",
        "--minutes",
        "0.5",
        "--probe",
        "4",
        "--load",
        "0.5",
        "--pairs",
        "3",
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    assert found["faults"] == {}
    assert len(found["intervals"]) == 10
    sent = sum(interval["requests"] for interval in found["intervals"])
    assert sent == pytest.approx(found["rate"] * 30, rel=0.3)
    assert found["rate"] == pytest.approx(found["saturation"] / 2)
    for turns in found["ageing"].values():
        assert len(turns["working"]) == len(turns["resting"]) == 3
        assert turns["wrong"] == 0
    assert found["aged"] == pytest.approx(1, abs=0.7)  # nothing ages in half a minute, on whatever machine
    assert all(100e6 < interval["memory"] < 4e9 for interval in found["intervals"])
    assert done.stderr.count("\n") >= 12  # the rate, a head, and a line an interval
