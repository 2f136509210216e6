"""What the files of a deployment are held against: the settings and commands of the project."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

from streamer.data.settings import describe_data, variable_of
from streamer.providers.registry import ADAPTERS
from streamer.settings import describe

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
COMMANDS = frozenset(PROJECT["scripts"])
"""What is installed to be run."""
_OF_PROVIDERS = [
    f"{start}_{variable_of(name)}_{end}"
    for name in ADAPTERS
    for start, ends in (("STREAMER", ("URL", "KEY", "PLAN")), ("FKS", ("RPS", "DAILY")))
    for end in ends
]
SETTINGS = frozenset(
    [*re.findall(r"\b(?:STREAMER|COINBASE|REDIS)_[A-Z_]+\b", describe() + describe_data()), *_OF_PROVIDERS]
)
"""Every variable that the program reads."""
SECRETS = ("TOKEN", "SECRET", "PASSWORD", "API_KEY")


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile as instruction and rest, continued lines joined, comments left out."""
    text = (ROOT / "Dockerfile").read_text("utf-8")
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    words = (line.split(None, 1) for line in text.splitlines() if line.strip())
    return [(name, " ".join(rest.split())) for name, rest in words]


def image_user() -> tuple[int, int]:
    """Return user and group that the image runs as."""
    (last,) = (rest for name, rest in instructions() if name == "USER")
    user, group = last.split(":")
    return int(user), int(group)


def documents(path: Path) -> list[dict[str, Any]]:
    """Return what a YAML file holds."""
    return list(yaml.safe_load_all(path.read_text("utf-8")))


def document(path: Path) -> dict[str, Any]:
    """Return the only document of a YAML file."""
    (only,) = documents(path)
    return only
