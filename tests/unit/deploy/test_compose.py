"""The compose file is sound, hands over no default secret, is reached from this machine only, and its parts fit."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from streamer.settings import load
from streamer.web.address import check_access
from tests.unit.deploy.rig import DEPLOY, ROOT, SETTINGS, document

FILES = [ROOT / "compose.yaml", DEPLOY / "redis" / "compose.acl.yaml"]
SERVICES: dict[str, dict[str, Any]] = document(FILES[0])["services"]
PROVISIONING = DEPLOY / "grafana" / "provisioning"


def mounts(service: str) -> dict[str, str]:
    """Return what of the project is mounted: path inside to path in the project."""
    found = {}
    for file in FILES:
        for volume in document(file)["services"].get(service, {}).get("volumes", ()):
            source, target, *mode = volume.split(":")
            if source.startswith("."):
                assert mode == ["ro"], volume
                found[target] = source
    return found


def in_project(service: str, path: str) -> Path:
    """Return the file of the project that a service sees at a path."""
    inside, outside = max(
        (pair for pair in mounts(service).items() if f"{path}/".startswith(f"{pair[0]}/")), key=lambda p: len(p[0])
    )
    return ROOT / outside / path[len(inside) :].lstrip("/")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_is_a_compose_file(file: Path) -> None:
    """It is what the schema of the Compose specification allows."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_there_is_no_default_secret(file: Path) -> None:
    """What must be given has no default: compose says what to do, and starts nothing."""
    text = re.sub(r"^\s*#.*\n", "", file.read_text("utf-8"), flags=re.MULTILINE)
    asked = re.findall(r"\$\{(\w+)([^}]*)\}", text)
    assert asked
    for name, how in asked:
        assert re.match(r":\?.{10}", how), name


@pytest.mark.parametrize("name", SERVICES)
def test_service_is_confined(name: str) -> None:
    """No capabilities, no way to new ones, nothing to write on but what is named; it comes back after a crash."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", SERVICES)
def test_service_is_published_on_loopback_only(name: str) -> None:
    """No other machine reaches it."""
    assert SERVICES[name]["ports"]
    assert all(str(port).startswith("127.0.0.1:") for port in SERVICES[name]["ports"])


@pytest.mark.parametrize("name", [name for name in SERVICES if "build" not in SERVICES[name]])
def test_image_is_pinned(name: str) -> None:
    """Images of others name a version."""
    assert re.search(r":v?\d[\w.-]*$", SERVICES[name]["image"])


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_mounted_exists(name: str) -> None:
    """Docker would make an empty folder of what does not; the file with the users is made by its script."""
    missing = {path for path in mounts(name).values() if not (ROOT / path).exists()}
    assert missing <= {"./deploy/redis/users.local.acl"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_variables_are_settings(file: Path) -> None:
    """What is handed to the streamer is something it reads."""
    assert set(document(file)["services"]["streamer"]["environment"]) <= SETTINGS


def test_streamer_may_be_reached_by_its_token_only() -> None:
    """It is bound beyond loopback, which it refuses without a token."""
    environment = SERVICES["streamer"]["environment"]
    assert environment["STREAMER_API_TOKEN"].startswith("${STREAMER_API_TOKEN:?")
    check_access(load(api_host=environment["STREAMER_API_HOST"], api_token="x" * 48))


def test_streamer_waits_for_redis() -> None:
    """It is started when Redis answers."""
    assert SERVICES["streamer"]["depends_on"] == {"redis": {"condition": "service_healthy"}}
    assert SERVICES["redis"]["healthcheck"]["test"][0] == "CMD-SHELL"


def test_redis_is_seen_by_the_streamer_alone() -> None:
    """Of the services only the streamer shares a network with Redis."""
    (network,) = SERVICES["redis"]["networks"]
    assert [name for name, service in SERVICES.items() if network in service["networks"]] == ["redis", "streamer"]


def test_redis_loses_nothing_silently() -> None:
    """Where memory is full writing fails, which is reported; nothing is evicted."""
    assert in_project("redis", SERVICES["redis"]["command"][1]) == DEPLOY / "redis" / "redis.conf"
    lines = (DEPLOY / "redis" / "redis.conf").read_text("utf-8").splitlines()
    assert "maxmemory-policy noeviction" in lines
    assert [line for line in lines if line.startswith("maxmemory ")]


def test_prometheus_asks_by_a_name_that_is_answered() -> None:
    """The target is the service, at its port, by a name among STREAMER_API_HOSTS; its rules are there."""
    config = document(DEPLOY / "prometheus" / "prometheus.yml")
    (job,) = config["scrape_configs"]
    ((target,),) = (entry["targets"] for entry in job["static_configs"])
    host, port = target.split(":")
    environment = SERVICES["streamer"]["environment"]
    assert host in SERVICES
    assert host in environment["STREAMER_API_HOSTS"].split(",")
    assert int(port) == load().api_port
    assert set(SERVICES["streamer"]["networks"]) & set(SERVICES["prometheus"]["networks"])
    folder = in_project("prometheus", "/etc/prometheus/prometheus.yml").parent
    assert [name for name in config["rule_files"] if not (folder / name).exists()] == []


def test_grafana_finds_prometheus_and_the_board() -> None:
    """The data source is the service, the folder of boards is mounted, and boards ask that data source."""
    (source,) = document(PROVISIONING / "datasources" / "prometheus.yaml")["datasources"]
    host = re.match(r"http://(\w+):9090$", source["url"])
    assert host
    assert host[1] in SERVICES
    assert in_project("grafana", "/etc/grafana/provisioning") == PROVISIONING
    (provider,) = document(PROVISIONING / "dashboards" / "streamer.yaml")["providers"]
    boards = in_project("grafana", provider["options"]["path"])
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    board = in_project("grafana", home)
    assert board.parent == boards
    for panel in json.loads(board.read_text("utf-8"))["panels"]:
        asked = panel.get("datasource", {}).get("uid", source["uid"])
        assert asked == source["uid"] or asked.startswith("$"), panel["title"]


def test_nobody_can_sign_in_to_grafana() -> None:
    """There is no account with a password that everybody knows."""
    environment = SERVICES["grafana"]["environment"]
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
