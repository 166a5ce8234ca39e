"""The compose file cannot be run where this is developed: what can be told from its text is checked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from monitoring.dashboards.variables import RUNBOOKS
from monitoring.service_alerts import JOB
from service.settings import Settings

ROOT = Path(__file__).parent.parent.parent
MONITORING = ROOT / "monitoring"
COMPOSE: Any = yaml.safe_load((MONITORING / "compose.yml").read_text())
PROMETHEUS: Any = yaml.safe_load((MONITORING / "prometheus/prometheus.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
RUNNING = sorted(SERVICES.keys() - {"state-owner"})
LISTENS = {"candor": 3000, "prometheus": 9090, "alertmanager": 9093, "grafana": 3000}
SECRETS = "./secrets"


def mounts(service: str) -> Iterator[tuple[str, str]]:
    """Source and place in the container of each volume. A source that must be given has a colon in its message's sign."""
    for volume in SERVICES[service].get("volumes", []):
        match = re.fullmatch(r"(\$\{[^}]*\}|[^:]+):([^:]+)(:ro)?", volume)
        assert match is not None, volume
        yield match[1], match[2]


def on_disk(service: str, place: str) -> Path:
    """The file of this tree that a service sees at some place."""
    for source, target in mounts(service):
        if place.startswith(f"{target}/") and source.startswith("."):
            return MONITORING / source / place.removeprefix(f"{target}/")
    raise AssertionError(f"{service} mounts nothing at {place}")


def test_it_has_the_service_and_what_watches_it() -> None:
    assert RUNNING == ["alertmanager", "candor", "grafana", "prometheus"]


def test_images_are_a_name_and_a_version() -> None:
    images = {name: service["image"] for name, service in SERVICES.items()}
    assert images.pop("candor") == images.pop("state-owner") == "candor:latest"  # made here, by bentoml containerize
    assert [image for image in images.values() if not re.fullmatch(r"[a-z]+/[a-z]+:v?\d+\.\d+\.\d+", image)] == []


@pytest.mark.parametrize("name", RUNNING)
def test_a_service_is_watched_started_again_and_open_to_this_machine_alone(name: str) -> None:
    service = SERVICES[name]
    assert service["healthcheck"]["test"][0] == "CMD"
    assert service["restart"] == "unless-stopped"
    assert service["security_opt"] == ["no-new-privileges:true"]
    (port,) = service["ports"]
    assert re.fullmatch(rf"127\.0\.0\.1:\d+:{LISTENS[name]}", port)
    assert f"127.0.0.1:{LISTENS[name]}/" in " ".join(service["healthcheck"]["test"])


def test_no_two_services_take_the_same_port() -> None:
    ports = [SERVICES[name]["ports"][0].split(":")[1] for name in RUNNING]
    assert len(set(ports)) == len(ports)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_what_is_mounted_is_there(name: str) -> None:
    for source, _ in mounts(name):
        if source.startswith("${"):
            assert ":?" in source  # it must be given, and says what
        elif source.startswith("."):
            assert source.startswith(SECRETS) or (MONITORING / source).is_dir(), source
        else:
            assert source in COMPOSE["volumes"]


def test_secrets_are_files_that_git_ignores() -> None:
    assert "monitoring/secrets/" in (ROOT / ".gitignore").read_text().splitlines()
    assert all(secret["file"].startswith(f"{SECRETS}/") for secret in COMPOSE["secrets"].values())
    used = {secret for service in SERVICES.values() for secret in service.get("secrets", [])}
    assert used == COMPOSE["secrets"].keys()
    in_the_open = [
        (name, variable)
        for name, service in SERVICES.items()
        for variable, value in service.get("environment", {}).items()
        if re.search("PASSWORD|SECRET|TOKEN|KEY", variable) and not value.startswith("/")
    ]
    assert in_the_open == []


def test_the_service_gets_settings_that_it_has_and_paths_that_are_mounted() -> None:
    environment = SERVICES["candor"]["environment"]
    assert {name.removeprefix("CANDOR_").lower() for name in environment} <= Settings.model_fields.keys()
    places = [target for _, target in mounts("candor")]
    assert [path for path in environment.values() if not any(f"{path}/".startswith(f"{place}/") for place in places)] == []


def test_the_state_outlives_the_container_and_belongs_to_the_service() -> None:
    state = SERVICES["candor"]["environment"]["CANDOR_STATE"]
    assert ("candor-state", state) in list(mounts("candor"))
    assert SERVICES["state-owner"]["entrypoint"] == ["chown", "bentoml:bentoml", state]
    assert ("candor-state", state) in list(mounts("state-owner"))
    assert SERVICES["candor"]["depends_on"]["state-owner"] == {"condition": "service_completed_successfully"}


def test_prometheus_scrapes_the_service_and_knows_alertmanager() -> None:
    (job,) = PROMETHEUS["scrape_configs"]
    (alerting,) = PROMETHEUS["alerting"]["alertmanagers"]
    assert job["job_name"] == JOB
    assert job["static_configs"] == [{"targets": [f"candor:{LISTENS['candor']}"]}]
    assert alerting["static_configs"] == [{"targets": [f"alertmanager:{LISTENS['alertmanager']}"]}]


def test_prometheus_reads_the_key_that_it_is_given() -> None:
    (job,) = PROMETHEUS["scrape_configs"]
    (secret,) = SERVICES["prometheus"]["secrets"]
    assert job["authorization"]["credentials_file"] == f"/run/secrets/{secret}"


@pytest.mark.parametrize("name", ["prometheus", "alertmanager"])
def test_configurations_are_where_the_commands_say(name: str) -> None:
    options = dict(option.removeprefix("--").split("=", 1) for option in SERVICES[name]["command"])
    assert on_disk(name, options["config.file"]).is_file()
    data = options.get("storage.tsdb.path") or options["storage.path"]
    assert (f"{name}-data", data) in list(mounts(name))


def test_rules_are_among_what_prometheus_mounts() -> None:
    folder = on_disk("prometheus", "/etc/prometheus/prometheus.yml").parent
    assert PROMETHEUS["rule_files"]
    assert [pattern for pattern in PROMETHEUS["rule_files"] if not list(folder.glob(pattern))] == []


def test_grafana_asks_the_services_of_the_file() -> None:
    sources = yaml.safe_load((MONITORING / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"]
    assert [source["type"] for source in sources] == ["prometheus", "alertmanager"]
    for source in sources:
        address = urlsplit(source["url"])
        assert address.port == LISTENS[str(address.hostname)]
    assert sources[0]["isDefault"] is True
    assert sources[0]["jsonData"]["timeInterval"] == PROMETHEUS["global"]["scrape_interval"]


def test_grafana_finds_dashboards_and_runbooks() -> None:
    (provider,) = yaml.safe_load((MONITORING / "grafana/provisioning/dashboards/candor.yml").read_text())["providers"]
    folder = on_disk("grafana", f"{provider['options']['path']}/")
    assert len(list(folder.glob("*.json"))) == 4
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert on_disk("grafana", home).is_file()
    assert on_disk("grafana", f"/usr/share/grafana{RUNBOOKS}/").resolve() == ROOT / "docs/runbooks"
