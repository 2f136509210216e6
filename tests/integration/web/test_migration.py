"""Moving callers over, over HTTP and by command: what is told, what can be set, and what is refused."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from streamer.store.flags import BOTS, USE
from streamer.web import shapes
from tests.integration.web.rig import TOKEN, Api, Full
from tests.integration.web.test_routes import checked, refused
from tests.support import RedisServer, run

STATS, FLAGS = "/api/v1/migration/stats", "/api/v1/migration/flags"


def seen(redis: RedisServer, caller: str, way: str, *, ago_s: float = 1, calls: int = 5) -> None:
    """A caller, as the client notes it."""
    entry = {"way": way, "last_ms": (time.time() - ago_s) * 1000, "calls": calls}
    redis.ask("HSET", "migration:callers", caller, json.dumps(entry))


async def test_nothing_has_moved_and_nothing_is_wrong(api: Api) -> None:
    """Before anybody asks: all would be coordinated, and there is nobody."""
    body = checked(await api.get(STATS), shapes.Migration)
    assert body["flags"] == {USE: True, BOTS: ""}
    assert body["progress"] == {"migrated": 0, "total": 0, "percentage": None}
    assert body["comparison"]["price"] == {"compared": 0, "mean_difference_bp": None, "max_difference_bp": None}


async def test_who_has_moved_is_told(api: Api, redis: RedisServer) -> None:
    """By the flags as they are now, not as they were when a caller was last seen; the long gone do not count."""
    seen(redis, "bot-1", "direct")
    seen(redis, "bot-2", "direct", ago_s=30)
    seen(redis, "bot-3", "coordinated", ago_s=7200)
    redis.ask("HSET", "migration:callers", "bot-4", "{not ours")
    redis.ask("HSET", "migration:flags", BOTS, "bot-1")
    body = checked(await api.get(STATS), shapes.Migration)
    assert body["progress"] == {"migrated": 1, "total": 2, "percentage": 50.0}
    assert [(one["caller"], one["is_coordinated"], one["last_way"]) for one in body["callers"]] == [
        ("bot-1", True, "direct"),
        ("bot-2", False, "direct"),
    ]


async def test_comparisons_are_means_and_maxima(api: Api, redis: RedisServer) -> None:
    """Of the sums that all processes add up; what is no number is passed over."""
    figures: dict[str, str | int] = {
        "price:count": 4,
        "price:sum_bp": "6.5",
        "price:max_bp": "3.25",
        "balance:count": 7,
    }
    figures |= {"balance:different": 1, "age_ms:count": 2, "age_ms:sum": 300, "age_ms:max": 250, "junk": "x"}
    redis.ask("HSET", "migration:comparison", *(word for pair in figures.items() for word in pair))
    found = checked(await api.get(STATS), shapes.Migration)["comparison"]
    assert found["price"] == {"compared": 4, "mean_difference_bp": 1.625, "max_difference_bp": 3.25}
    assert found["balance"] == {"compared": 7, "different": 1}
    assert found["age"] == {"mean_ms": 150.0, "max_ms": 250.0}


async def test_flags_are_set_and_what_is_left_out_stays(api: Api, redis: RedisServer) -> None:
    """And are in force for whoever reads Redis next."""
    first = checked(await api.client.post(FLAGS, json={BOTS: "bot-7, bot-1,25%"}), shapes.Flags)
    assert first == {USE: True, BOTS: "bot-1,bot-7,25%"}
    assert checked(await api.client.post(FLAGS, json={USE: False}), shapes.Flags) == first | {USE: False}
    assert redis.hash("migration:flags") == {USE: "false", BOTS: "bot-1,bot-7,25%"}
    assert checked(await api.get(STATS), shapes.Migration)["flags"] == first | {USE: False}


@pytest.mark.parametrize("body", [{BOTS: "120%"}, {BOTS: "x" * 65}, {BOTS: "a%b"}, {USE: "yes"}, {"use": True}, []])
async def test_bad_flags_move_nobody(api: Api, redis: RedisServer, body: Any) -> None:
    """A slip is refused as a whole."""
    refused(await api.client.post(FLAGS, json=body), 422, "invalid")
    assert redis.hash("migration:flags") == {}


async def test_flags_need_the_token_where_there_is_one(guarded: Api, world: Full) -> None:
    """Who may read may not move anybody."""
    refused(await guarded.client.post(FLAGS, json={USE: False}), 401, "token")
    headers = {"Authorization": f"Bearer {TOKEN}"}
    checked(await guarded.client.post(FLAGS, json={USE: False}, headers=headers), shapes.Flags)


def migrate(redis: RedisServer, folder: Path, *words: str) -> tuple[int, str]:
    """Run the command; return its exit code and what it says."""
    done = run("streamer", "migrate", *words, "--redis-url", redis.url, folder=folder)
    return done.returncode, done.stdout + done.stderr


def test_the_command_moves_and_rolls_back(redis: RedisServer, tmp_path: Path) -> None:
    """Each step says what is in force from now on."""
    assert migrate(redis, tmp_path, "bots", "bot-7,25%") == (0, f"{USE}=true\n{BOTS}=bot-7,25%\n")
    assert migrate(redis, tmp_path, "off") == (0, f"{USE}=false\n{BOTS}=bot-7,25%\n")
    assert redis.hash("migration:flags") == {USE: "false", BOTS: "bot-7,25%"}
    assert migrate(redis, tmp_path, "bots", "all") == (0, f"{USE}=false\n{BOTS}=(all)\n")
    assert migrate(redis, tmp_path, "reset") == (0, f"{USE}=true\n{BOTS}=(all)\n")
    assert redis.ask("EXISTS", "migration:flags") == 0


def test_the_command_shows_how_far_it_is(redis: RedisServer, tmp_path: Path) -> None:
    """For people, and as the same JSON as the endpoint."""
    seen(redis, "bot-1", "coordinated", calls=1234)
    code, text = migrate(redis, tmp_path)
    assert code == 0
    assert "coordinated: 1 of 1 callers" in text
    assert "1,234 requests" in text
    code, text = migrate(redis, tmp_path, "--json")
    shapes.Migration.model_validate_json(text)


@pytest.mark.parametrize("words", [("bots",), ("on", "bot-1"), ("bots", "120%"), ("sideways",)])
def test_the_command_refuses_what_it_does_not_understand(
    redis: RedisServer, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """With exit code 2, and nobody moves."""
    code, _ = migrate(redis, tmp_path, *words)
    assert code == 2
    assert redis.ask("EXISTS", "migration:flags") == 0
