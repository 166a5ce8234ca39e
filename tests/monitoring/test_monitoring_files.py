"""The committed files are what the code makes, and `candor monitoring` writes and checks them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from candor.errors import InvalidInput
from cli.main import app
from monitoring.alert import AlertTimes
from monitoring.alerts import all_alerts
from monitoring.files import ROOM, files, stale
from monitoring.prometheus_config import prometheus_config
from monitoring.rule import N_BINS
from monitoring.yaml_text import yaml_text
from service.feedback import bins


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["monitoring", *map(str, arguments)])


def test_no_committed_file_is_stale() -> None:
    made = files()
    assert {name.split("/")[0] for name in made} >= {"prometheus", "alertmanager", "grafana", "compose.yml"}
    assert stale(ROOM, made) == []


def test_what_is_written_is_not_stale_until_something_changes(tmp_path: Path) -> None:
    folder = tmp_path / "deploy"
    options = ("--windows", "2m,10m", "--interval", "5s", "--target", "gpu-1:3000", "--target", "gpu-2:3000")
    assert run("write", folder, *options).exit_code == 0
    assert run("check", folder, *options).exit_code == 0
    (folder / "prometheus/rules/alerts.yml").write_text("groups: []\n")
    (folder / "prometheus/rules/old.yml").write_text("groups: []\n")
    (folder / "alertmanager/alertmanager.yml").unlink()
    found = run("check", folder, *options)
    names = ("alertmanager/alertmanager.yml", "prometheus/rules/alerts.yml", "prometheus/rules/old.yml")
    assert (found.exit_code, found.stdout) == (1, "".join(f"stale: {name}\n" for name in names))


def test_what_is_changed_by_hand_is_kept_and_not_stale(tmp_path: Path) -> None:
    run("write", tmp_path)
    for name in ("compose.yml", "alertmanager/alertmanager.yml", "prometheus/rules/alerts.yml"):
        (tmp_path / name).write_text("# mine\n")
    assert run("check", tmp_path).stdout == "stale: prometheus/rules/alerts.yml\n"
    written = run("write", tmp_path).stdout.splitlines()
    assert [line for line in written if "kept" in line] == [
        f"{tmp_path}/alertmanager/alertmanager.yml (yours, kept)",
        f"{tmp_path}/compose.yml (yours, kept)",
    ]
    assert (tmp_path / "compose.yml").read_text() == "# mine\n"
    assert (tmp_path / "alertmanager/alertmanager.yml").read_text() == "# mine\n"
    assert (tmp_path / "prometheus/rules/alerts.yml").read_text() == files()["prometheus/rules/alerts.yml"]


def test_without_grafanas_sdk_no_dashboards_of_other_windows_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitoring.files.find_spec", lambda _: None)
    assert files() == {name: (ROOM / name).read_text() for name in files()}
    found = run("write", tmp_path / "new", "--windows", "2m,10m")
    assert (found.exit_code, "candor[dashboards]" in found.stderr) == (2, True)
    assert not (tmp_path / "new").exists()


def test_choices_reach_the_files(tmp_path: Path) -> None:
    options = (
        "--windows",
        "2m,10m",
        "--interval",
        "5s",
        "--target",
        "gpu-1:3000",
        "--runbooks",
        "https://w/",
        "--key-file",
        "",
    )
    run("write", tmp_path, *options)
    config = yaml.safe_load((tmp_path / "prometheus/prometheus.yml").read_text())
    assert config["global"] == {"scrape_interval": "2s", "evaluation_interval": "5s"}
    assert config["scrape_configs"] == [{"job_name": "candor", "static_configs": [{"targets": ["gpu-1:3000"]}]}]
    groups = yaml.safe_load((tmp_path / "prometheus/rules/recording.yml").read_text())["groups"]
    assert [(group["name"], group["interval"]) for group in groups[1:]] == [("candor-2m", "5s"), ("candor-10m", "5s")]
    alerts = yaml.safe_load((tmp_path / "prometheus/rules/alerts.yml").read_text())["groups"][0]["rules"]
    assert [alert["annotations"]["runbook_url"] for alert in alerts[-1:]] == ["https://w/CandorDown.md"]
    assert alerts[0]["for"] == "150s"
    assert "ratio10m" in alerts[0]["expr"]


def test_a_key_is_read_from_a_file_that_the_configuration_names() -> None:
    job = yaml.safe_load(prometheus_config(key_file="/etc/k: #y"))["scrape_configs"][0]
    assert job["authorization"] == {"credentials_file": "/etc/k: #y"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--windows", "1h,x"), "'x' is no duration"),
        (("--windows", ""), "'' is no duration"),
        (("--interval", "0s"), "'0s' is no duration"),
        (("--interval", "121s"), "an interval of 121s is too long"),
        (("--target", "http://gpu-1:3000"), "a target is host:port"),
        (("--target", 'a:1", "b'), "a target is host:port"),
    ],
)
def test_bad_choices_are_one_sentence_and_write_nothing(tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    found = run("write", tmp_path / "new", *options)
    assert found.exit_code == 2
    assert said in found.stderr
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = run("write", tmp_path / "file")
    assert (found.exit_code, "cannot write to" in found.stderr) == (2, True)


def test_ipv6_and_names_are_targets_and_nothing_is_not() -> None:
    targets = ["[::1]:3000", "gpu-1.example:65535", "10.0.0.1:80"]
    read = yaml.safe_load(prometheus_config(targets=targets))["scrape_configs"][0]["static_configs"][0]["targets"]
    assert read == targets
    with pytest.raises(InvalidInput, match="no target"):
        prometheus_config(targets=[])


def test_text_of_several_lines_is_a_block_and_comes_back() -> None:
    content = {"b": ["x: 1", "two\n  lines"], "a": {"10": "10", "é": ""}}
    text = yaml_text(content, "heading\nsecond")
    assert text.splitlines()[:3] == ["# heading", "# second", "b:"]
    assert "|-\n  two\n    lines" in text
    assert yaml.safe_load(text) == content


def test_alertmanager_names_alerts_that_there_are() -> None:
    config = yaml.safe_load((ROOM / "alertmanager/alertmanager.yml").read_text())
    names = {alert.name for alert in all_alerts(AlertTimes())}
    rules = [
        matcher for rule in config["inhibit_rules"] for side in ("source", "target") for matcher in rule[f"{side}_matchers"]
    ]
    about = [matcher for matcher in rules if matcher.startswith("alertname")]
    named = {name for matcher in about for name in matcher.split('"')[1].split("|")}
    assert len(named) >= 5
    assert named - names == set()
    assert {route["receiver"] for route in [config["route"], *config["route"]["routes"]]} == {
        receiver["name"] for receiver in config["receivers"]
    }


def test_bins_are_those_of_the_service() -> None:
    assert N_BINS == bins.N_BINS
