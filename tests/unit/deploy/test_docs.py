"""What the page about deployments names is there."""

from __future__ import annotations

import re

import pytest

from tests.unit.deploy.rig import COMMANDS, DEPLOY, PROJECT, ROOT, SETTINGS, document

PAGE = (ROOT / "docs" / "deploy.md").read_text("utf-8")
MADE = {"deploy/redis/users.local.acl"}
"""By a script that the page has run."""


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\bdeploy/[\w./-]*\w", PAGE)) - MADE))
def test_file_exists(path: str) -> None:
    """Files of the project are where the page says."""
    assert (ROOT / path).exists()


def test_variables_are_settings_or_asked_for_by_compose() -> None:
    """A variable is one that the program reads, or that a compose file asks for."""
    compose = (DEPLOY / "redis" / "compose.acl.yaml").read_text("utf-8")
    named = set(re.findall(r"\b(?:STREAMER|COINBASE|REDIS)_[A-Z_]+\b", PAGE))
    assert named
    assert named <= SETTINGS | set(re.findall(r"\$\{(\w+):\?", compose))


def test_commands_are_installed() -> None:
    """What is run by name, or as a unit, exists."""
    assert set(re.findall(r"\b(?:start-stream|stream-status)\b", PAGE)) <= COMMANDS
    units = re.findall(r"systemctl (?:enable --now|restart|status) (\S+)", PAGE)
    assert set(units) - {"redis-server"} == {path.stem for path in (DEPLOY / "systemd").glob("streamer.service")}


def test_users_are_those_of_the_file() -> None:
    """The table has a row for each user of Redis that is not off."""
    lines = (DEPLOY / "redis" / "users.acl").read_text("utf-8").splitlines()
    users = [line.split()[1] for line in lines if line.split()[2] == "on"]
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE) == users


def test_image_is_of_this_version() -> None:
    """The tag is the version that the manifests name."""
    (image,) = document(DEPLOY / "kubernetes" / "kustomization.yaml")["images"]
    assert set(re.findall(rf"{image['name']}:([\d.]+\d)", PAGE)) == {PROJECT["version"]}
