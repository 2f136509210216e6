"""Where Redis is: URLs, `.env`, the state file. No server is needed here."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from dotenv import dotenv_values
from redis.connection import URL_QUERY_ARGUMENT_PARSERS, parse_url

from streamer.errors import ConfigError
from streamer.store.address import (
    OPTIONS,
    RedisState,
    check_redis_url,
    find_redis_url,
    hide_password,
    key_prefix,
    live_state,
    parse_env_file,
    process_alive,
    read_state,
    retire_state,
    state_dir,
    write_state,
)

GOOD = [
    "redis://",
    "redis://localhost",
    "redis://h:6380/2",
    "redis://h?db=3",
    "redis://h/1?db=3",
    "redis://user:pa%40ss@h:1/0",
    "redis://:p@h",
    "redis://:p%2Fq%3F%23%25@h/15",
    "redis://[::1]:7000/1",
    "rediss://u:p@h:6379/0?ssl_ca_certs=/etc/ca.pem",
    "redis://h:65535",
    "redis://u:p@ss@h",
    "redis://h?username=u&password=p+q",
    "rediss://h?ssl_certfile=/c.pem&ssl_keyfile=/k.pem&ssl_check_hostname=False",
]


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and an environment that names it as home."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("url", GOOD)
def test_urls_mean_what_redis_py_takes_them_for(url: str) -> None:
    """The probe and the client library go to the same place with the same credentials."""
    ours, theirs = check_redis_url(url), parse_url(url)  # type: ignore[no-untyped-call]
    assert ours.host == theirs.get("host", "localhost")
    assert ours.port == theirs.get("port", 6379)
    assert ours.db == theirs.get("db", 0)
    assert ours.username == theirs.get("username")
    assert ours.password == theirs.get("password")


def test_unix_urls() -> None:
    """A unix socket has a path, and its database in the query."""
    address = check_redis_url("unix://:p@/run/my%20redis.sock?db=2")
    assert (address.scheme, address.path, address.db, address.password) == ("unix", "/run/my redis.sock", 2, "p")
    assert check_redis_url("unix:///s?password=q").password == "q"


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("", "expected redis://"),
        ("localhost:6379", "expected redis://"),
        ("http://h", "expected redis://"),
        ("redis://h:0", "1 to 65535"),
        ("redis://h:65536", "1 to 65535"),
        ("redis://h:port", "1 to 65535"),
        ("redis://:hush", "1 to 65535"),
        ("redis://h/x", "whole number"),
        ("redis://h/-1", "whole number"),
        ("redis://h?db=x", "whole number"),
        ("redis://::1:6379", "brackets"),
        ("redis://[::1", "brackets"),
        ("redis://:hu/sh@h", "percent-encoded"),
        ("redis://:hu?sh@h", "percent-encoded"),
        ("redis://:hu#sh@h", "percent-encoded"),
        ("redis://:hu sh@h", "blanks"),
        ("unix://", "absolute path"),
        ("unix://tmp/s", "absolute path"),
        ("redis://[zz]:1", "brackets"),
        ("redis://[:::]:1", "brackets"),
        ("redis://h?foo=bar", "option 'foo' is not known here; known are db, username, password, ssl_ca_certs"),
        ("redis://h?foo", "option 'foo' is not known"),
        ("redis://h?Password=hush", "option 'Password' is not known"),
        ("redis://h?pasword=hush", "option 'pasword' is not known"),
        ("redis://h?max_connections=abc", "option 'max_connections' is not known"),
        ("redis://h/0?db=1&socket_timeout=5", "option 'socket_timeout' is not known"),
        ("unix:///s?timeout=5", "option 'timeout' is not known"),
        ("rediss://h?ssl_cert_reqs=none", "option 'ssl_cert_reqs' is not known"),
        ("redis://h?db=1&db=2", "option 'db' is given twice"),
        ("redis://h?db=", "option 'db' has no value"),
        ("redis://h?&db=1", "option '' is not known"),
        ("redis://h?ssl_ca_certs=/ca.pem", "rediss:// only"),
        ("rediss://h?ssl_check_hostname=perhaps", "true or false"),
    ],
)
def test_a_broken_url_says_which_rule(url: str, rule: str) -> None:
    """The message names the setting and the rule, and never holds the password."""
    with pytest.raises(ConfigError, match=rule) as caught:
        check_redis_url(url)
    assert caught.value.name == "REDIS_URL"
    assert "hu" not in str(caught.value).replace("whole number", "")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://h:6379/0", "redis://h:6379/0"),
        ("redis://:hush@h:6379/0", "redis://:***@h:6379/0"),
        ("redis://user:hush@h", "redis://user:***@h"),
        ("redis://hush@h", "redis://***@h"),
        ("redis://u:hu@sh@h", "redis://u:***@h"),
        ("redis://:hush", "redis://:***"),
        ("redis://h:hush/0", "redis://h:***"),
        ("redis://[::1]", "redis://[::1]"),
        ("unix:///a@b.sock?password=hush&db=1", "unix:///a@b.sock?password=***&db=1"),
        (":hush@h:6379", ":***@h:6379"),
        ("redis://h?pasword=hush&db=1", "redis://h?pasword=***&db=1"),
        ("redis://h?PASSWORD=hush&username=me", "redis://h?PASSWORD=***&username=me"),
    ],
)
def test_hide_password(url: str, shown: str) -> None:
    """What is logged holds no password, well-formed or not."""
    assert hide_password(url) == shown


@pytest.mark.parametrize("option", sorted({*URL_QUERY_ARGUMENT_PARSERS, "host", "path", "retry"} - {*OPTIONS}))
def test_what_else_redis_py_takes_is_refused(option: str) -> None:
    """No URL undoes the deadlines and limits that the store sets, or fails only when it connects."""
    with pytest.raises(ConfigError, match=f"option '{option}' is not known"):
        check_redis_url(f"rediss://h?{option}=1")


@pytest.mark.parametrize("password", ["p@ss", "a/b", "a?b#c", "100%", "ü ☃", "%41", "a+b"])
def test_any_password_can_be_written(password: str) -> None:
    """Percent-encoding carries every password through."""
    assert check_redis_url(f"redis://:{quote(password, safe='')}@h").password == password


ENV_FILES = [
    "REDIS_URL=redis://h:1/0\n",
    "  export REDIS_URL = redis://h:1/0  # the local one\n",
    "REDIS_URL='redis://:a#b@h'\nX=1",
    'REDIS_URL="redis://h" # comment\r\nX="a\\nb"\r\n',
    "# REDIS_URL=no\n\nnonsense\nREDIS_URL=redis://:a#b@h # yes",
    "REDIS_URL=\nX=''\n",
    'KEY="-----BEGIN EC PRIVATE KEY-----\nREDIS_URL=inside\n-----END-----\n"\nREDIS_URL=outside\n',
    "HOST=box\nREDIS_URL=redis://${HOST}:${PORT:-6379}/${NONE}\n",
    'X=\'it\\\'s\'\nY="say \\"hi\\""\n',
    "REDIS_URL=first\nREDIS_URL=second\n",
]


@pytest.mark.parametrize("text", ENV_FILES)
def test_env_files_read_as_python_dotenv_reads_them(text: str, tmp_path: Path) -> None:
    """start-stream (pydantic-settings, python-dotenv) and stream-status see the same settings."""
    (tmp_path / ".env").write_bytes(text.encode())
    theirs = {key: value for key, value in dotenv_values(tmp_path / ".env").items() if value is not None}
    assert parse_env_file(text, os.environ) == theirs


def test_an_argument_beats_the_environment_beats_the_file(workdir: Path) -> None:
    """Explicit, then the environment, then `.env`; an empty value counts as not set."""
    environ = {"HOME": str(workdir)}
    assert find_redis_url(environ) is None
    (workdir / ".env").write_text("REDIS_URL=redis://file\nSTREAMER_KEY_PREFIX='p:'\n")
    assert find_redis_url(environ) == "redis://file"
    assert find_redis_url(environ | {"REDIS_URL": ""}) == "redis://file"
    assert find_redis_url(environ | {"REDIS_URL": "redis://env"}) == "redis://env"
    assert find_redis_url(environ | {"REDIS_URL": "redis://env"}, "redis://arg") == "redis://arg"
    assert key_prefix(environ) == "p:"
    assert key_prefix(environ | {"STREAMER_KEY_PREFIX": "q:"}) == "q:"


def test_an_env_folder_is_no_env_file(workdir: Path) -> None:
    """A virtual environment called `.env` is common, and not ours."""
    (workdir / ".env").mkdir()
    assert key_prefix({}) == ""


def test_state_dir(workdir: Path) -> None:
    """STREAMER_STATE_DIR, then an absolute XDG_STATE_HOME, then the home folder."""
    assert state_dir({"HOME": "/h"}) == "/h/.local/state/streamer"
    assert state_dir({"HOME": "/h", "XDG_STATE_HOME": "/x"}) == "/x/streamer"
    assert state_dir({"HOME": "/h", "XDG_STATE_HOME": "x"}) == "/h/.local/state/streamer"
    assert state_dir({"HOME": "/h", "XDG_STATE_HOME": "/x", "STREAMER_STATE_DIR": "/s"}) == "/s"
    (workdir / ".env").write_text("STREAMER_STATE_DIR=here\n")
    assert state_dir({}) == str(workdir / "here")


def example(pid: int) -> RedisState:
    """A state whose port nobody listens on."""
    return RedisState(
        url="redis://:p@127.0.0.1:1/0", redis_pid=pid, parent_pid=1, port=1, version="7.0.15", started_ms=5
    )


def test_state_file_is_private_and_comes_back_whole(tmp_path: Path) -> None:
    """Mode 0600 in a folder 0700, every field kept, no draft left behind."""
    folder = tmp_path / "deep" / "state"
    write_state(str(folder), example(42))
    file = folder / "redis.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [path.name for path in folder.iterdir()] == ["redis.json"]
    state = read_state(str(folder))
    assert state is not None
    assert {name: getattr(state, name) for name in RedisState.__slots__} == json.loads(file.read_text())
    retire_state(str(folder))
    assert read_state(str(folder)) is None
    retire_state(str(folder))


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"url": 1}', '"x"', "null"])
def test_a_spoilt_state_file_counts_as_absent(text: str, tmp_path: Path) -> None:
    """Half a file, or another program's, is no state and no crash."""
    (tmp_path / "redis.json").write_text(text)
    assert read_state(str(tmp_path)) is None


def test_a_dead_server_counts_as_absent(tmp_path: Path) -> None:
    """A process that is gone, or one that does not answer with our password, is not our Redis."""
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    assert not process_alive(child.pid)
    assert process_alive(1)
    for pid in (child.pid, os.getpid()):
        write_state(str(tmp_path), example(pid))
        assert read_state(str(tmp_path)) is not None
        assert live_state(str(tmp_path)) is None
        assert find_redis_url({"STREAMER_STATE_DIR": str(tmp_path)}) is None


def test_the_probe_imports_nothing_heavy() -> None:
    """`stream-status` may be run every second: what it imports is counted."""
    heavy = [
        "dataclasses",
        "typing",
        "pathlib",
        "urllib.parse",
        "inspect",
        "asyncio",
        "ssl",
        "subprocess",
        "shutil",
    ]
    code = (
        "import sys; before = set(sys.modules); from streamer.cli.stream_status import _parser; _parser();"
        f"print(*(set({heavy!r}) & (set(sys.modules) - before)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == []
