"""What the README promises exists: settings, commands, files."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from streamer.settings import describe

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_readme_lists_every_setting() -> None:
    """The table of the README and `--help` name the same variables."""
    told = set(re.findall(r"\b(?:STREAMER|COINBASE|REDIS)_[A-Z_]+\b", describe()))
    assert told == set(re.findall(r"`((?:STREAMER|COINBASE|REDIS)_[A-Z_]+)`", README))


@pytest.mark.parametrize("target", sorted(set(re.findall(r"make ([a-z]+)", README + "make check make bench"))))
def test_make_target_exists(target: str) -> None:
    """Each `make X` of the README is a target."""
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("command", sorted(set(re.findall(r"`streamer ([a-z]+)", README))))
def test_command_exists_and_explains_itself(command: str) -> None:
    """Each `streamer X` of the README answers `--help` without reading anything else."""
    done = subprocess.run(
        [sys.executable, "-m", "streamer.cli.main", command, "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert command in done.stdout


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_link_leads_somewhere(link: str) -> None:
    """Each relative link of the README names a file of the project."""
    assert (ROOT / link).exists()
