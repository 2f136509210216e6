"""Runs the official SDK's own REST tests against `streamer.compat.RESTClient`, beside the SDK's own client.

    python scripts/sdk_suite.py            as released with the installed version of the SDK
    python scripts/sdk_suite.py --verbose  with what pytest prints

The tests are fetched from PyPI, since the package that pip installs does not carry them; not a line is kept here.
Each runs once with either client: only the line that imports it is changed. The tests' exchange is a mock, and
Redis a real one, emptied before each test, so that every answer is the mock's.

Exit status: 0 where each test has the same outcome with both clients, 1 otherwise, 2 where it could not be tried.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from http.client import HTTPException
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree

from streamer.simulator.keys import make_key_file
from streamer.store.embedded import EmbeddedRedis

PACKAGE = "coinbase-advanced-py"
INDEX = f"https://pypi.org/simple/{PACKAGE}/"
THEIRS, OURS = "from coinbase.rest import RESTClient", "from streamer.compat import RESTClient"
# The tests import a module of constants, which their distribution lacks.
CONSTANTS = "TEST_API_KEY = {name!r}\nTEST_API_SECRET = {privateKey!r}\n"
CONFTEST = """
import os, pytest, redis
@pytest.fixture(autouse=True)
def nothing_is_held():
    redis.Redis.from_url(os.environ["REDIS_URL"]).flushall()
"""
_TIMEOUT_S = 60


class CannotTry(Exception):
    """The tests cannot be had, or do not run."""


def main() -> int:
    """Fetch, run twice, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verbose", action="store_true", help="show what pytest prints")
    options = parser.parse_args()
    try:
        return asyncio.run(compare(options.verbose))
    except (CannotTry, OSError, HTTPException, ValueError, subprocess.TimeoutExpired) as exc:
        print(f"{Path(__file__).name}: {exc}", file=sys.stderr)
        return 2


async def compare(verbose: bool) -> int:
    """Print every test that ends otherwise with our client than with the SDK's, and how many ended how."""
    release = version(PACKAGE)
    archive = await asyncio.to_thread(fetch, release)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with EmbeddedRedis(folder / "redis") as redis:
            outcomes = []
            for client in (THEIRS, OURS):
                unpack(archive, folder / client.split()[1], client)
                run = asyncio.to_thread(play, folder / client.split()[1], redis.url, verbose)
                outcomes.append(await run)
    theirs, ours = outcomes
    if set(theirs.values()) != {"passed"}:
        raise CannotTry("the tests fail with the SDK's own client; --verbose shows how")
    different = [test for test in theirs | ours if theirs.get(test) != ours.get(test)]
    for test in different:
        print(f"{test}: {theirs.get(test)} with the SDK's client, {ours.get(test)} with ours")
    passed = sum(outcome == "passed" for outcome in ours.values())
    told = f"{len(ours)} tests, {passed} pass, {len(different)} end otherwise than with its own client"
    print(f"{PACKAGE} {release}: {told}")
    return 1 if different else 0


def fetch(release: str) -> bytes:
    """Return the source distribution of a release, checked against the index's hash.

    Raises:
        CannotTry: The index has none, or another than it says.
    """
    wanted = urllib.request.Request(INDEX, headers={"Accept": "application/vnd.pypi.simple.v1+json"})
    with urllib.request.urlopen(wanted, timeout=_TIMEOUT_S) as answer:
        files = json.load(answer)["files"]
    ends = re.compile(rf"[-_]{re.escape(release)}\.tar\.gz")
    found = next((file for file in files if ends.search(file["filename"])), None)
    if found is None:
        raise CannotTry(f"{INDEX} has no source distribution of {release}")
    with urllib.request.urlopen(found["url"], timeout=_TIMEOUT_S) as answer:
        data: bytes = answer.read()
    if hashlib.sha256(data).hexdigest() != found["hashes"]["sha256"]:
        raise CannotTry(f"{found['url']} is not what the index says")
    return data


def unpack(archive: bytes, folder: Path, client: str) -> None:
    """Write the REST tests into a folder, with what they import beside them, and the client put in."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as held:
        for member in held:
            inside = re.fullmatch(r"[^/]+/(tests/rest/\w+\.py)", member.name)
            file = held.extractfile(member) if inside else None
            if inside and file:
                path = folder / inside[1]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(file.read().decode().replace(THEIRS, client))
    if not any(client in path.read_text() for path in folder.rglob("test_*.py")):
        raise CannotTry("the source distribution carries no REST tests, or they import their client otherwise")
    make_key_file(folder / "key.json")
    key = json.loads((folder / "key.json").read_text())
    (folder / "tests" / "constants.py").write_text(CONSTANTS.format_map(key))
    (folder / "tests" / "__init__.py").touch()
    (folder / "conftest.py").write_text(CONFTEST)


def play(folder: Path, redis_url: str, verbose: bool) -> dict[str, str]:
    """Run the tests of a folder; return what became of each.

    Raises:
        CannotTry: Not even one was run.
    """
    options = ["-q", "--rootdir", str(folder), "-p", "no:asyncio", "--junitxml", "report.xml"]
    command = [sys.executable, "-m", "pytest", *options]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "REDIS_URL": redis_url}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    if verbose:
        print(done.stdout + done.stderr)
    report = folder / "report.xml"
    cases = ElementTree.parse(report).iter("testcase") if report.exists() else []
    outcomes = {f"{case.get('classname')}.{case.get('name')}": outcome_of(case) for case in cases}
    if not outcomes:
        raise CannotTry(f"no test was run: {(done.stdout + done.stderr)[-500:]}")
    return outcomes


def outcome_of(case: ElementTree.Element) -> str:
    """Return how a test of a report ended."""
    return next((part.tag for part in case if part.tag in ("failure", "error", "skipped")), "passed")


if __name__ == "__main__":
    sys.exit(main())
