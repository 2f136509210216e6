"""What a deployment runs, without its containers: a Redis with the users, and the image's command line."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from shutil import which
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support import BIN, RedisServer
from tests.unit.deploy.rig import DEPLOY, document, image_user, instructions

MAKE_USERS = DEPLOY / "redis" / "make-users.sh"
USERS = ("streamer", "bot", "consumer")
_TRIES = "tries"
TOKEN = "a-token-of-some-length"
COMPOSE = document(DEPLOY.parent / "compose.yaml")["services"]["streamer"]
_POD = document(DEPLOY / "kubernetes" / "deployment.yaml")["spec"]["template"]["spec"]
PROBES = {spec["httpGet"]["path"] for name, spec in _POD["containers"][0].items() if name.endswith("Probe")}
"""What the kubelet asks."""


class UsersRedis(RedisServer):
    """A redis-server with the users of the project, filled in as the documentation says.

    Attributes:
        passwords: By user.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        acl = folder / "users.acl"
        made = subprocess.run(["sh", str(MAKE_USERS), str(acl)], capture_output=True, text=True, check=True)
        self.passwords = dict(line.split() for line in made.stdout.splitlines())
        with acl.open("a") as file:  # and one for the tests to look on
            file.write("user tester on nopass ~* &* +@all\n")
        self._command += ["--aclfile", str(acl)]
        self.passwords["tester"] = "any"
        self.url = self.url_of("tester")
        self._client.connection_pool.connection_kwargs.update(username="tester", password="any")

    def url_of(self, user: str) -> str:
        """Return the URL that a user is given."""
        return f"redis://{user}:{self.passwords[user]}@127.0.0.1:{self.port}/0"

    def ask_as(self, user: str, *words: str | int) -> Any:
        """Send one command as a user, to see whether that works."""
        with Redis.from_url(
            self.url_of(user),
            decode_responses=True,
            socket_timeout=3,
            retry=Retry(NoBackoff(), 0),
            client_name=_TRIES,
        ) as client:
            execute: Callable[..., Any] = client.execute_command
            return execute(*words)

    def refused(self, user: str) -> list[str]:
        """Return what a user was refused, reason and object of each, but for what the tests tried on purpose."""
        entries: list[dict[str, Any]] = self.ask("ACL", "LOG")
        return [
            f"{entry['reason']} {entry['object']}"
            for entry in entries
            if entry["username"] == user and f" name={_TRIES} " not in entry["client-info"]
        ]


def image_environment() -> dict[str, str]:
    """Return what the image sets, but for its PATH."""
    words = " ".join(rest for name, rest in instructions() if name == "ENV").split()
    return {name: value for name, _, value in (word.partition("=") for word in words) if name != "PATH"}


def image_command(name: str) -> list[str]:
    """Return an ENTRYPOINT or HEALTHCHECK as words; the program is the one of this installation."""
    (rest,) = (rest for found, rest in instructions() if found == name)
    program, *words = json.loads(rest.rpartition("CMD ")[2])
    return [str(BIN / program), *words]


def as_in_container(command: list[str], environment: Mapping[str, str], cwd: Path) -> list[str]:
    """Return a command that runs as the image's user, where we may become it, with no other environment."""
    given = {"PATH": f"{BIN}:{os.defpath}", **image_environment(), **environment}
    pairs = [f"{name}={value}" for name, value in given.items()]
    return ["env", "-i", f"--chdir={cwd}", *pairs, *_become(), *command]


def can_become_nobody() -> bool:
    """Whether we may run something as the image's user; as somebody else than root we need not."""
    if os.geteuid() != 0:
        return True
    tried = [*_become(), "true"]
    return which(tried[0]) is not None and subprocess.run(tried, capture_output=True, check=False).returncode == 0


def _become() -> list[str]:
    """Return what makes root the image's user.

    That user is nobody that the system knows, owns nothing and may write nothing. It may read everything: what the
    tests run lies in folders of ours, not in an image.
    """
    if os.geteuid() != 0:
        return []
    user, group = image_user()
    capabilities = [
        "--inh-caps=+dac_read_search",
        "--ambient-caps=+dac_read_search",
        "--bounding-set=-all,+dac_read_search",
    ]
    return ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "--no-new-privs", *capabilities]
