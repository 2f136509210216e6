"""The units are what systemd understands, run commands that exist, and give the service little to reach."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.unit.deploy.rig import COMMANDS, DEPLOY, SECRETS, SETTINGS

FOLDER = DEPLOY / "systemd"
UNITS = sorted(FOLDER.glob("*.service"))
HOME = "/opt/streamer/bin"


def directives(path: Path) -> list[tuple[str, str]]:
    """Return names and values in order; a name may stand there more than once."""
    lines = [line for line in path.read_text("utf-8").splitlines() if line and line[0] not in "#["]
    return [(name, value) for name, _, value in (line.partition("=") for line in lines)]


def value_of(unit: str, name: str) -> str:
    """Return the value of a directive that stands there once."""
    (value,) = (value for found, value in directives(FOLDER / unit) if found == name)
    return value


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_understands_it(unit: Path, tmp_path: Path) -> None:
    """systemd finds nothing to complain about, drop-ins and programs included."""
    shutil.copytree(FOLDER, tmp_path / "etc/systemd/system")
    programs = tmp_path / HOME[1:]
    programs.mkdir(parents=True)
    for name in COMMANDS:
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    command = ["systemd-analyze", "verify", f"--root={tmp_path}", "--man=no", "--recursive-errors=no", unit.name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_calls_it_well_confined(unit: Path) -> None:
    """systemd's own measure of exposure, from 0 to 10, is at most 2."""
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-200:]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_it_runs_a_command_of_the_project(unit: Path) -> None:
    """ExecStart is installed with the project."""
    program = Path(value_of(unit.name, "ExecStart").split()[0])
    assert str(program.parent) == HOME
    assert program.name in COMMANDS


@pytest.mark.parametrize("path", [*UNITS, *FOLDER.glob("*/*.conf")], ids=lambda path: path.name)
def test_variables_are_settings_and_no_secrets(path: Path) -> None:
    """What a unit sets is something the program reads; secrets come from a file, units are for all to read."""
    names = {value.partition("=")[0] for name, value in directives(path) if name == "Environment"}
    assert names <= SETTINGS
    assert not [name for name in names if any(word in name for word in SECRETS)]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_bad_settings_are_not_tried_again(unit: Path) -> None:
    """A crash is answered by a restart, exit status 2 is not: it means bad input."""
    assert value_of(unit.name, "Restart") == "on-failure"
    assert value_of(unit.name, "RestartPreventExitStatus") == "2"


def test_an_outage_at_the_start_is_no_failure() -> None:
    """systemd waits for readiness without end, and afterwards for a sign of life."""
    assert value_of("streamer.service", "Type") == "notify"
    assert value_of("streamer.service", "TimeoutStartSec") == "infinity"
    assert int(value_of("streamer.service", "WatchdogSec")) == 30


def test_the_state_folder_is_the_one_that_may_be_written() -> None:
    """The embedded Redis has its folder where systemd makes one, out of a file system that is else read-only."""
    environment = dict(
        value.split("=", 1) for name, value in directives(FOLDER / "streamer.service") if name == "Environment"
    )
    assert environment["STREAMER_STATE_DIR"] == f"%S/{value_of('streamer.service', 'StateDirectory')}"
    assert value_of("streamer.service", "ProtectSystem") == "strict"


def test_the_key_is_read_from_where_it_is_put() -> None:
    """COINBASE_KEY_FILE is the credential that the drop-in loads."""
    drop_in = directives(FOLDER / "streamer.service.d" / "coinbase-key.conf")
    (loaded,) = (value.partition(":")[0] for name, value in drop_in if name == "LoadCredential")
    assert ("Environment", f"COINBASE_KEY_FILE=%d/{loaded}") in drop_in


def test_units_are_confined_alike() -> None:
    """What confines the one confines the other."""
    confined = [
        re.search(r"^DynamicUser=.*?(?=^\[)|^DynamicUser=.*", unit.read_text("utf-8"), re.M | re.S)
        for unit in UNITS
    ]
    assert len({found[0] for found in confined if found}) == 1
