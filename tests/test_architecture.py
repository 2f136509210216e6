"""The shape of the house, checked: who may import whom, what stays pure, and where each fact has its one home.

This file is also the place to read it: `MAY_IMPORT` is the architecture, top to bottom. A new room is added here
before it is built.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

import streamer
from streamer import compat, web
from streamer.health import probe
from streamer.store.keys import Keys

PACKAGE = Path(__file__).parents[1] / "streamer"

# Room by room from the ground up. A room may import itself and what its line says, all of it further up here; a
# dotted name allows that one module of a room. The halves share `store` and `model` only: `reader` never sees
# `ingest` or `coinbase`.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "model": {"errors"},
    "logs": set(),
    "store": {"errors", "model"},
    # What a source of REST data can be asked, and those of other makers: an adapter each.
    "providers": {"errors", "model"},
    "quality": {"errors", "model", "providers"},
    "coinbase": {"errors", "model", "store", "providers"},
    # What others send us unasked.
    "webhooks": {"errors", "model", "store", "providers"},
    # The rules of a feed and the check of its URL have their home with the feed; so have those of senders' secrets.
    "settings": {"errors", "model", "store", "coinbase", "webhooks"},
    "gateway": {"errors", "model", "store", "providers", "coinbase", "settings"},
    "ingest": {"errors", "model", "store", "providers", "quality", "coinbase", "settings", "gateway"},
    "reader": {"errors", "model", "store", "providers", "settings", "gateway"},
    # Other providers, put in order: the exchange is one of them, by way of the reader.
    "data": {
        *("errors", "model", "store", "providers", "quality", "coinbase", "settings", "gateway", "reader"),
        "webhooks",
    },
    # Its probe runs every second and is held to less, below.
    "health": {"errors", "store"},
    "web": {
        *("errors", "model", "store", "providers", "quality", "settings", "gateway", "reader", "data"),
        *("webhooks", "health"),
    },
    # Takes the place of the SDK's client in programs of others.
    "compat": {"errors", "model", "store", "providers", "settings", "gateway", "reader"},
    # It shares no code with what it tests, so that a codec bug cannot cancel itself out.
    "simulator": {"errors", "model"},
    "cli": {
        "errors",
        "model",
        "logs",
        "store",
        "providers",
        "quality",
        "coinbase",
        "settings",
        "gateway",
        "ingest",
        "reader",
        "data",
        "health",
        "simulator",
        "web",
    },
}

PURE = [
    "errors",
    "model",
    "providers.adapter",
    "providers.alphavantage",
    "providers.binance",
    "providers.coinbase",
    "providers.coingecko",
    "providers.coinmarketcap",
    "providers.decode",
    "providers.eodhd",
    "providers.polygon",
    "providers.shape",
    "providers.spans",
    "providers.alphavantage_answers",
    "providers.binance_answers",
    "providers.coingecko_answers",
    "providers.polygon_answers",
    "providers.coinmarketcap_answers",
    "providers.eodhd_answers",
    "providers.sessions",
    "providers.symbols",
    "data.shown",
    "quality.agreement",
    "quality.alerts",
    "quality.bars",
    "quality.findings",
    "quality.outliers",
    "quality.score",
    "quality.sessions",
    "quality.statistics",
    "quality.ticks",
    "quality.validation",
    "data.ask",
    "data.story",
    "store.keys",
    "store.records",
    "store.candle_records",
    "store.copies",
    "coinbase.clock",
    "coinbase.messages",
    "coinbase.session",
    "coinbase.pace",
    "coinbase.intake",
    "coinbase.orders",
    "coinbase.rest_answers",
    "gateway.breakdown",
    "gateway.breaker",
    "gateway.decision",
    "gateway.limits",
    "gateway.products",
    "gateway.refresh",
    "gateway.statistics",
    "ingest.books",
    "ingest.candles",
    "ingest.dirty",
    "ingest.assign",
    "ingest.effects",
    "ingest.histogram",
    "ingest.ledger",
    "ingest.portfolio",
    "ingest.refresh",
    "ingest.catalog",
    "ingest.report",
    "reader.candles",
    "reader.facts",
    "reader.freshness",
    "reader.plans",
    "reader.shown",
    "reader.steps",
    "reader.tiers",
    "reader.wallets",
    "webhooks.coingecko",
    "webhooks.delivery",
    "webhooks.hexadecimal",
    "webhooks.hook0",
    "webhooks.prices",
    "webhooks.schemes",
    "webhooks.standard",
    "webhooks.tradingview",
    "compat.answers",
    "compat.differences",
    "compat.questions",
    "health.metrics",
    "health.troubles",
    "health.verdict",
    "simulator.account",
    "simulator.market",
    "simulator.orders",
    "simulator.portfolio",
    "simulator.trading",
    "simulator.updates",
    "simulator.faults",
    "simulator.admin",
    "simulator.catalogue",
    "simulator.channels",
    "simulator.checks",
    "simulator.limits",
    "simulator.past",
    "simulator.rest_account",
    "simulator.rest_ask",
    "simulator.rest_errors",
    "simulator.rest_market",
    "simulator.rest_routes",
    "simulator.staff",
    "simulator.providers.guide",
    "simulator.tape",
    "web.provider_metrics",
    "simulator.providers.alphavantage",
    "simulator.providers.assets",
    "simulator.providers.binance",
    "simulator.providers.books",
    "simulator.providers.coinbase",
    "simulator.providers.coingecko",
    "simulator.providers.coinmarketcap",
    "simulator.providers.coinmarketcap_bars",
    "simulator.providers.coinmarketcap_lookup",
    "simulator.providers.eodhd",
    "simulator.providers.fake",
    "simulator.providers.faults",
    "simulator.providers.limits",
    "simulator.providers.market",
    "simulator.providers.polygon",
    "simulator.providers.polygon_bars",
    "simulator.providers.polygon_lookup",
    "simulator.providers.provider",
    "simulator.providers.roster",
    "simulator.providers.view",
    "simulator.providers.wire",
]
IMPURE = {"asyncio", "socket", "time", "logging", "structlog", "redis", "websockets", "ssl", "picows"}
IMPURE |= {"os", "subprocess", "threading", "selectors", "urllib.request", "http"}
IMPURE_CALLS = {"open", "print", "input", "now", "utcnow", "today", "sleep"}

# The stems of every key in the Redis contract, also of those that have no writer yet.
KEY = re.compile(
    r"\b(?:ticker|portfolio|candles)_realtime\b|\bstream:|\bhistorical:|\baccounts:global\b|\bportfolio_breakdown:"
    r"|\bproducts:all\b|\bgateway:|\bcounters:|\bapi_429_errors\b|\bcache_(?:hits|misses):|\bapi_calls:|^(?:\{\})?ticker:"
    r"|\bwebhooks\}?:|\bquality:|^(?:\{\})?data:"
)
# A probe cannot afford to import `store.keys`; a test below holds its copy to the contract.
KEY_ELSEWHERE = {("health.probe", probe.STATUS_KEY)}

MAY_READ_ENVIRONMENT = {"settings", "store.address"}
# What a child process may inherit is chosen from our environment; no setting is read there.
INHERITS_ENVIRONMENT = {"store.redis_server"}
CONFIGURES_LOGGING = {
    "basicConfig",
    "dictConfig",
    "fileConfig",
    "listenConfig",
    "configure",
    "configure_once",
    "setLevel",
    "addHandler",
    "removeHandler",
    "captureWarnings",
}
ON_ANY_LOGGER = {"setLevel", "addHandler", "removeHandler"}
ENVIRON = {"environ", "environb", "getenv"}


@cache
def paths() -> dict[str, Path]:
    """Every module of the package by its dotted name within it; the package itself is ""."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def tree(name: str) -> ast.Module:
    """The syntax tree of a module."""
    return ast.parse(paths()[name].read_text(), str(paths()[name]))


def is_package(name: str) -> bool:
    """Whether a module is the `__init__` of a folder."""
    return (PACKAGE / Path(*name.split(".")) / "__init__.py").is_file()


def at_load(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what runs when a module is loaded: everything but the inside of functions."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from at_load(child)


def imports(name: str, *, also_later: bool = True) -> Iterator[tuple[int, str]]:
    """Yield line and full name of everything a module imports, also for type checkers and within functions."""
    package = ["streamer", *filter(None, name.split("."))]
    if not is_package(name):
        package.pop()
    for node in ast.walk(tree(name)) if also_later else at_load(tree(name)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            origin = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*origin, *filter(None, [node.module])])
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


def imported_modules(name: str, *, also_later: bool = True) -> Iterator[tuple[int, str]]:
    """Yield line and name within the package of every module of ours that a module imports."""
    for line, target in imports(name, also_later=also_later):
        root, _, inside = target.partition(".")
        if root == "streamer":
            while inside not in paths():
                inside = inside.rpartition(".")[0]
            yield line, inside


def room(name: str) -> str:
    """The room a module is in."""
    return name.partition(".")[0]


def allowed(name: str, target: str) -> bool:
    """Whether module `name` may import module `target`."""
    if room(name) == room(target):
        return True
    return any(target == each or target.startswith(f"{each}.") for each in MAY_IMPORT[room(name)])


def texts(source: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and text of every literal that is no docstring; in f-strings each value shows as {}."""
    skip: set[ast.AST] = set()
    for node in ast.walk(source):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            skip.add(node.value)
        elif isinstance(node, ast.JoinedStr):
            skip.update(node.values)
            yield (
                node.lineno,
                "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values),
            )
        elif isinstance(node, ast.Constant) and node not in skip and isinstance(node.value, str | bytes):
            yield node.lineno, node.value if isinstance(node.value, str) else node.value.decode("latin-1")


def public(node: ast.AST, path: str) -> Iterator[tuple[str, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Yield what a module or class offers, by name; what is local to a function or private is nobody's business."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if not child.name.startswith("_"):
                yield f"{path}.{child.name}", child
                if isinstance(child, ast.ClassDef):
                    yield from public(child, f"{path}.{child.name}")
        elif isinstance(child, ast.If | ast.Try | ast.With):
            yield from public(child, path)


def calls(name: str) -> Iterator[tuple[int, str]]:
    """Yield line and source of everything a module calls."""
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func)


# -- who may import whom ----------------------------------------------------------------------------------------


def test_every_module_is_in_a_room_of_the_plan() -> None:
    """What is built is drawn, and what is drawn is built."""
    assert {room(name) for name in paths()} - {""} == MAY_IMPORT.keys()


def test_the_plan_itself_points_downward() -> None:
    """No line of the table names a room further down, so there can be no cycle of rooms."""
    above: set[str] = set()
    for name, targets in MAY_IMPORT.items():
        assert {room(target) for target in targets} <= above, name
        above.add(name)


def test_imports_point_downward_only() -> None:
    """Every import between rooms is one that the table allows."""
    wrong = [
        f"{name}:{line} imports {target}"
        for name in paths()
        if name  # the package itself is next
        for line, target in imported_modules(name)
        if target and not allowed(name, target)
    ]
    assert wrong == []


def test_importing_the_package_imports_nothing() -> None:
    """A probe that needs two modules must not load all: what is offered is loaded when it is used."""
    program = "import sys; before = {*sys.modules, '__future__'}; import streamer; print(*{*sys.modules} - before)"
    command = [sys.executable, "-I", "-c", program]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == ["streamer"]


def test_the_package_offers_what_it_names() -> None:
    """Each name is there, is loaded from its home, and shows in dir(); another is no attribute."""
    assert set(streamer.__all__) == set(streamer._HOMES) <= set(dir(streamer))
    for name, home in streamer._HOMES.items():
        assert getattr(streamer, name) is getattr(import_module(home), name)
    with pytest.raises(AttributeError, match="no attribute 'Readers'"):
        getattr(streamer, "Readers")  # noqa: B009 - type checkers know that it is not there


def test_rooms_import_nothing_by_themselves() -> None:
    """The same within: `__init__` of a room loads none of its modules, nor any other."""
    rooms = [f"streamer.{name}" for name in paths() if name and is_package(name)]
    program = f"import sys; before = {{*sys.modules, '__future__'}}; import {', '.join(rooms)}; "
    command = [sys.executable, "-I", "-c", program + "print(*{*sys.modules} - before)"]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert set(loaded) == {"streamer", *rooms}


def test_the_web_room_offers_what_it_names() -> None:
    """To applications of others: each name is there, is loaded from its home, and shows in dir()."""
    assert set(web.__all__) == set(web._HOMES) <= set(dir(web))
    for name, home in web._HOMES.items():
        assert getattr(web, name) is getattr(import_module(home), name)
    with pytest.raises(AttributeError, match="no attribute 'readers'"):
        getattr(web, "readers")  # noqa: B009 - type checkers know that it is not there


def test_the_compat_room_offers_what_it_names() -> None:
    """To bots of others: the client, and the one error of ours that it raises."""
    assert set(compat.__all__) == set(compat._HOMES) <= set(dir(compat))
    for name, home in compat._HOMES.items():
        assert getattr(compat, name) is getattr(import_module(home), name)
    with pytest.raises(AttributeError, match="no attribute 'Client'"):
        getattr(compat, "Client")  # noqa: B009 - type checkers know that it is not there


def test_only_commands_know_the_simulator() -> None:
    """Simulated prices enter by a command that was asked for them, and by no other way."""
    knowing = {
        room(name)
        for name in paths()
        for _, target in imported_modules(name)
        if room(target) == "simulator" and room(name) != "simulator"
    }
    assert knowing <= {"cli"}


def test_modules_import_each_other_in_no_circle() -> None:
    """Also within a room: every module can be loaded before those that need it, in some order."""
    needs = {name: {target for _, target in imported_modules(name, also_later=False)} - {""} for name in paths()}
    while ready := {name for name, targets in needs.items() if not targets & needs.keys()}:
        needs = {name: targets for name, targets in needs.items() if name not in ready}
    assert needs == {}


# -- pure modules -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_import_no_world(name: str) -> None:
    """No loop, socket, clock, logger, Redis or TLS in a module that decides."""
    roots = {tuple(target.split(".")[:depth]) for _, target in imports(name) for depth in (1, 2)}
    assert {".".join(root) for root in roots} & IMPURE == set()


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_do_not_wait(name: str) -> None:
    """Nothing asynchronous: the rules run to their end at once."""
    waits = ast.Await | ast.AsyncFor | ast.AsyncWith | ast.AsyncFunctionDef
    assert [node.lineno for node in ast.walk(tree(name)) if isinstance(node, waits)] == []


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_read_no_clock_and_no_file(name: str) -> None:
    """Time and contents come in as arguments."""
    assert [(line, call) for line, call in calls(name) if call.rpartition(".")[2] in IMPURE_CALLS] == []


# -- one home for each fact -------------------------------------------------------------------------------------


def test_keys_are_built_in_one_place() -> None:
    """No literal and no f-string outside `store/keys.py` is a key of the Redis contract; prose may name them."""
    wrong = [
        f"{name}:{line} builds {text!r}"
        for name in paths()
        if name != "store.keys"
        for line, text in texts(tree(name))
        if KEY.search(text) and not re.search(r"\s", text) and (name, text) not in KEY_ELSEWHERE
    ]
    assert wrong == []


def test_the_check_for_keys_finds_keys() -> None:
    """The pattern knows every name that `Keys` builds, plain, prefixed and braced."""
    for keys in (Keys(), Keys("p:"), Keys(cluster=True)):
        names = [getattr(keys, name) for name in ("feeds", "wanted", "status", "ticker_updates")]
        names += [getattr(keys, name)("X") for name in ("ticker", "ticker_stale", "lease", "epoch")]
        assert all(KEY.search(name) for name in names)
    source = ast.parse(
        """a = f"{prefix}ticker_realtime:{product_id}"; b = prefix + "stream:feeds"; c = b"ticker:X" """
    )
    assert sum(KEY.search(text) is not None for _, text in texts(source)) == 3


def test_the_probe_knows_the_name_of_the_status() -> None:
    """The one name that is written twice is the same twice."""
    assert Keys().status == probe.STATUS_KEY


def test_only_logs_configures_logging() -> None:
    """Level, handlers and renderers are set in `logs.py` and nowhere else."""
    wrong = [
        f"{name}:{line} calls {call}"
        for name in paths()
        if name != "logs"
        for line, call in calls(name)
        if call.rpartition(".")[2] in CONFIGURES_LOGGING
        and (call.startswith(("logging.", "structlog.")) or call.rpartition(".")[2] in ON_ANY_LOGGER)
    ]
    assert wrong == []


def test_the_environment_is_read_in_few_places() -> None:
    """Settings come from `settings.py` and `store/address.py`; commands hand the environment to these."""
    readers = {
        name
        for name in paths()
        for node in ast.walk(tree(name))
        if (isinstance(node, ast.Attribute) and ast.unparse(node) in ("os.environ", "os.environb", "os.getenv"))
        or (isinstance(node, ast.ImportFrom) and node.module == "os" and ENVIRON & {a.name for a in node.names})
    }
    assert {name for name in readers if room(name) != "cli"} <= MAY_READ_ENVIRONMENT | INHERITS_ENVIRONMENT


# -- docstrings -------------------------------------------------------------------------------------------------


def test_every_module_says_what_it_is_for() -> None:
    """The first lines of each file tell a reader whether to read on."""
    assert [name for name in paths() if not ast.get_docstring(tree(name))] == []


def test_everything_public_has_a_docstring() -> None:
    """Classes, functions, methods and the stubs of protocols make their promise in words."""
    bare = [
        path
        for name in paths()
        for path, node in public(tree(name), name)
        if not (ast.get_docstring(node) or "").strip()
    ]
    assert bare == []
