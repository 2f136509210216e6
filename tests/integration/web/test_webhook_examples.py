"""What shows how webhooks are sent does send them: the documentation and the scripts."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.web.rig import Api, settings
from tests.integration.web.test_webhooks import LET_IN, events
from tests.support import RedisServer
from tests.unit.webhooks.rig import SECRETS

ROOT = Path(__file__).parents[3]


def shown(language: str, word: str) -> str:
    """Return the one block of `docs/webhooks.md` in a language that has a word in it."""
    text = (ROOT / "docs" / "webhooks.md").read_text("utf-8")
    block: str
    (block,) = (one for one in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL) if word in one)
    return block


@pytest.mark.parametrize(
    "command",
    [
        [sys.executable, "-c", shown("python", "urlopen")],
        ["sh", "-euc", shown("sh", "curl")],
        [sys.executable, str(ROOT / "scripts" / "send_webhook.py"), "URL", "--price", "91320.01"],
    ],
    ids=["python", "shell", "script"],
)
async def test_the_examples_work(redis: RedisServer, command: list[str], tmp_path: Path) -> None:
    """As they stand in the documentation, with URL and secret from the environment."""
    async with Api(redis.url, settings(webhook_secrets=LET_IN)) as api:
        url = f"{api.base}/webhooks/binance"
        env = {"PATH": os.environ["PATH"], "WEBHOOK_URL": url, "WEBHOOK_SECRET": SECRETS["binance"]}
        words = [url if word == "URL" else word for word in command]
        done = await asyncio.to_thread(
            subprocess.run, words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=30, check=False
        )
    assert done.returncode == 0, done.stderr
    assert '{"status":"stored"}' in done.stdout
    (event,) = events(redis)
    assert (event["type"], json.loads(event["payload"])["data"]["price"]) == ("price.updated", "91320.01")


def test_the_script_says_what_it_needs(tmp_path: Path) -> None:
    """Help, and what is wrong with arguments, without a trace and without the secret."""
    script = [sys.executable, str(ROOT / "scripts" / "send_webhook.py")]
    said = subprocess.run([*script, "--help"], capture_output=True, text=True, check=True)
    assert "WEBHOOK_SECRET" in said.stdout
    for secret, data in (("", "{}"), ("hush", "{}"), ("whsec_hush!", "{}"), (SECRETS["binance"], "{")):
        done = subprocess.run(
            [*script, "http://127.0.0.1:9/webhooks/x", "--data", data],
            env={"WEBHOOK_SECRET": secret}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, "Traceback" in done.stderr, "hush" in done.stderr) == (2, False, False)


def test_the_fuzz_script_finds_nothing(tmp_path: Path) -> None:
    """A short run of it: every scheme, nothing taken wrongly, nothing broken."""
    command = [sys.executable, str(ROOT / "scripts" / "fuzz_webhooks.py"), "--cases", "500"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("500 cases") == len(SECRETS)
