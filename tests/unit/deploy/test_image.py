"""The image is small, pinned, runs as nobody in particular, and is made of what the project needs alone."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from tests.unit.deploy.rig import COMMANDS, PROJECT, ROOT, SECRETS, SETTINGS, image_user, instructions

STAGES = [rest for name, rest in instructions() if name == "FROM"]


def rest_of(name: str) -> str:
    """Return what follows an instruction that stands there once."""
    (rest,) = (rest for found, rest in instructions() if found == name)
    return rest


def copied_from_context() -> set[str]:
    """Return the files and folders that are copied into the image."""
    copies = (shlex.split(rest) for name, rest in instructions() if name == "COPY")
    return {source for words in copies if not words[0].startswith("--from=") for source in words[:-1]}


@pytest.mark.parametrize("stage", STAGES)
def test_base_is_the_python_of_the_project(stage: str) -> None:
    """Each base names a version, one that the project supports, and the slim variant of a release of Debian."""
    version = re.match(r"python:(\d+)\.(\d+)-slim-[a-z]+(?: |$)", stage)
    assert version, stage
    assert (int(version[1]), int(version[2])) >= (3, 11)
    assert PROJECT["requires-python"] == ">=3.11"


def test_stages_are_of_one_base() -> None:
    """What is built in one stage runs in the other: both have the same Python."""
    assert len(STAGES) == 2
    assert len({stage.split()[0] for stage in STAGES}) == 1


def test_last_stage_installs_nothing() -> None:
    """Compilers, package managers and their caches stay in the stage that builds."""
    names = [name for name, _ in instructions()]
    assert "RUN" not in names[len(names) - names[::-1].index("FROM") :]
    assert "ADD" not in names


def test_install_is_pinned() -> None:
    """Versions come from constraints.txt, as wheels, and no cache stays."""
    command = rest_of("RUN")
    assert "-c constraints.txt" in command
    for flag in ("--no-cache-dir", "--only-binary=:all:", "--without-pip"):
        assert flag in command


def test_user_is_a_number_and_not_root() -> None:
    """Kubernetes' runAsNonRoot needs a number to see it."""
    assert min(image_user()) >= 10_000


@pytest.mark.parametrize("name", ["ENTRYPOINT", "HEALTHCHECK"])
def test_commands_exist_and_need_no_shell(name: str) -> None:
    """What is run is a command of the project, in exec form: a shell would not pass SIGTERM on."""
    words = json.loads(rest_of(name).partition("CMD ")[2] or rest_of(name))
    assert words[0] in COMMANDS


def test_stops_by_the_signal_that_is_heeded() -> None:
    """`docker stop` sends what start-stream ends by."""
    assert rest_of("STOPSIGNAL") == "SIGTERM"


def test_exposed_is_the_port_of_the_api() -> None:
    """The port is the default one."""
    assert int(rest_of("EXPOSE")) == 8700


def test_nothing_secret_and_no_unknown_setting_is_baked_in() -> None:
    """ENV and ARG hold no secret, and of the settings only those that exist."""
    baked = " ".join(rest for name, rest in instructions() if name in ("ENV", "ARG"))
    names = re.findall(r"(\w+)=", baked)
    assert names
    assert not [name for name in names if any(word in name for word in SECRETS)]
    ours = {name for name in names if name.startswith(("STREAMER_", "COINBASE_", "REDIS_"))}
    assert ours <= SETTINGS


def test_labels_are_those_of_the_project() -> None:
    """The OCI labels tell title, description and licence."""
    label = rest_of("LABEL")
    assert set(re.findall(r"org\.opencontainers\.image\.(\w+)=", label)) == {"title", "description", "licenses"}
    assert PROJECT["license"] in label


@pytest.mark.parametrize("source", sorted(copied_from_context()))
def test_copied_file_exists(source: str) -> None:
    """What is copied is there."""
    assert (ROOT / source).exists()


def test_builder_sees_only_what_is_copied() -> None:
    """.dockerignore hides everything, keys and histories among it, but what the Dockerfile copies."""
    lines = [line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line[:1] not in ("", "#")]
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == copied_from_context()


def test_the_package_is_built_from_what_is_copied() -> None:
    """The build needs the readme, the licence and the package, and gets them."""
    needed = {"pyproject.toml", PROJECT["readme"], *PROJECT["license-files"], "streamer", "constraints.txt"}
    assert needed == copied_from_context()
    assert Path(ROOT / "streamer" / "__init__.py").exists()
