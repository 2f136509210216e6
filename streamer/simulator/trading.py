"""Commands of the control port about accounts: what they look like and what they do. Pure.

An amount is a decimal as text. `key` names an API key and may be left out where there is only one. Wherever an
order id is asked for, a client order id does as well.

- `{"order": {"product_id": "BTC-USD", "side": "BUY", "price": "84000", "size": "0.01"}}` places an order and
  replies its `order_id`. Also `key`, `type` ("Limit" or "Market"; of a market order `price` is what the hold is
  reckoned with), `status` ("OPEN", "PENDING" or "QUEUED"), `client_order_id`, and `"fail": true` for an order that
  becomes PENDING and then FAILED.
- `{"fill": ID}` fills what is left, or `size` of it, at `price` with `fee`. An order that waits is opened by it,
  without an update that says so.
- `{"cancel": ID}`; with `"queued": true` it becomes CANCEL_QUEUED, and a second cancel ends it.
- `{"expire": ID}`, `{"open": ID}` (from PENDING or QUEUED), `{"edit": ID, "price": ..., "size": ...}`.
- `{"status": ID, "as": "ANY_TEXT"}` sends an update that shows this status and changes nothing.
- `{"deposit": "USD", "amount": "-10"}` changes a wallet; the user channel is silent about it.
- `{"replay": 5}` sends the last 5 updates again as new messages, `"shuffled": true` in another order.
- `{"hush": true}`: what happens from now on is not told, nor numbered. `{"lose": 3}`: the next 3 updates take a
  sequence number and are not sent. `{"heal": true}` ends both.
- `{"accounts_lag_s": 2.5}`: REST shows accounts and orders as they were that long ago.
- `{"query": "accounts"}` replies the truth: `accounts` (currency to available, hold, total), `orders` as the user
  channel shows them, newest first (`"orders": "open"`, "all" or "none"), a rising `version` and `time_s`.
- `{"query": "history"}` replies `history`: `[unix time, accounts]` after each change, from `since_s` on. The first
  entry is the state at that time; that of the start has time 0. Wallets that were always empty are left out.
- `{"batch": [...]}` carries out several of these; each has its own reply in `replies`, and the whole is `ok` if
  all are. What cannot be read refuses the whole; what cannot be done, such as for lack of funds, only itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

from streamer.errors import ConfigError
from streamer.simulator import checks
from streamer.simulator.account import Bank
from streamer.simulator.orders import Status
from streamer.simulator.portfolio import check_lag

QUERIES = ("accounts", "history")
"""What can be asked about accounts."""

_AMOUNT = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?", re.ASCII)
_REQUIRED: Any = object()
_MAX_BATCH = 10_000


@dataclass(frozen=True, slots=True)
class Trade:
    """One command about accounts.

    Attributes:
        verb: What to do; of a query the word and its subject, "query accounts".
        about: What stands beside the verb.
        options: Its options, all of them, read and with defaults filled in.
    """

    verb: str
    about: Any
    options: Mapping[str, Any]


def _amount(rule: str, fits: Callable[[Decimal], bool]) -> checks.Check:
    def broken(value: object) -> str | None:
        is_fit = isinstance(value, str) and _AMOUNT.fullmatch(value) and fits(Decimal(value))
        return None if is_fit else f"must be a decimal {rule}, as text"

    return broken


class _Option(NamedTuple):
    check: checks.Check
    default: Any = None
    read: Callable[[Any], Any] = lambda value: value


_FLAG = checks.one_of(True, False)
_POSITIVE = _amount("above 0", lambda amount: amount > 0)
_KEY = _Option(checks.text)
_ORDER: dict[str, _Option] = {
    "key": _KEY,
    "product_id": _Option(checks.text, _REQUIRED),
    "side": _Option(checks.one_of("BUY", "SELL"), _REQUIRED),
    "price": _Option(_POSITIVE, _REQUIRED, Decimal),
    "size": _Option(_POSITIVE, _REQUIRED, Decimal),
    "type": _Option(checks.one_of("Limit", "Market"), "Limit"),
    "status": _Option(checks.one_of("OPEN", "PENDING", "QUEUED"), "OPEN"),
    "fail": _Option(_FLAG, False),
    "client_order_id": _Option(checks.text),
}
_PRICE_AND_SIZE = {"price": _Option(_POSITIVE, None, Decimal), "size": _Option(_POSITIVE, None, Decimal)}
# Verb to the check of what stands beside it, and its options.
_VERBS: dict[str, tuple[checks.Check, dict[str, _Option]]] = {
    "fill": (
        checks.text,
        {
            **_PRICE_AND_SIZE,
            "fee": _Option(_amount("of at least 0", lambda amount: amount >= 0), None, Decimal),
        },
    ),
    "cancel": (checks.text, {"queued": _Option(_FLAG, False)}),
    "expire": (checks.text, {}),
    "edit": (checks.text, _PRICE_AND_SIZE),
    "open": (checks.text, {}),
    "status": (checks.text, {"as": _Option(checks.text, _REQUIRED)}),
    "deposit": (
        checks.text,
        {"amount": _Option(_amount("other than 0", lambda amount: amount != 0), _REQUIRED, Decimal), "key": _KEY},
    ),
    "replay": (checks.whole(1, 10_000), {"shuffled": _Option(_FLAG, False), "key": _KEY}),
    "hush": (_FLAG, {}),
    "lose": (checks.whole(0, 2**31), {}),
    "accounts_lag_s": (check_lag, {}),
}
_QUERY_OPTIONS: dict[str, dict[str, _Option]] = {
    "accounts": {"key": _KEY, "orders": _Option(checks.one_of("open", "all", "none"), "open")},
    "history": {"key": _KEY, "since_s": _Option(checks.number(0), 0.0)},
}

VERBS = ("order", *_VERBS, "batch")
"""Every word that makes an object a command about accounts, besides `query`."""


def is_trade(verb: str, value: Mapping[str, Any]) -> bool:
    """Whether an object of which a word is the verb is a command about accounts."""
    return verb in VERBS or (verb == "query" and value[verb] in QUERIES)


def parse_trade(value: Mapping[str, Any], where: str = "command") -> Trade:
    """Return the command about accounts that a JSON object means.

    Args:
        value: The object.
        where: What to call it in an error.

    Raises:
        ConfigError: It is no such command, or an option breaks a rule.
    """
    given = dict(value)
    verbs = [verb for verb in (*VERBS, "query") if verb in given]
    if len(verbs) != 1:
        raise ConfigError(where, checks.shown(value), f"must have exactly one of {', '.join(VERBS)}, query")
    verb = verbs[0]
    about = given.pop(verb)
    match verb:
        case "batch":
            _read_options(given, {}, where)
            return Trade(verb, _batch(about, where), {})
        case "order":
            _read_options(given, {}, where)
            if not isinstance(about, dict):
                raise ConfigError(f"{where}: order", checks.shown(about), "must be an object")
            return Trade(verb, None, _read_options(about, _ORDER, f"{where}: order"))
        case "query":
            checks.check(where, "query", about, checks.one_of(*QUERIES))
            return Trade(f"query {about}", None, _read_options(given, _QUERY_OPTIONS[about], where))
    rule_of, known = _VERBS[verb]
    checks.check(where, verb, about, rule_of)
    options = _read_options(given, known, where)
    if verb == "edit" and not given:
        raise ConfigError(where, checks.shown(value), "must have price, size or both")
    return Trade(verb, about, options)


def _batch(value: object, where: str) -> list[Trade]:
    if not isinstance(value, list) or not 0 < len(value) <= _MAX_BATCH:
        rule = f"must be a list of 1 to {_MAX_BATCH} commands"
        raise ConfigError(f"{where}: batch", checks.shown(value), rule)
    trades = []
    for i, entry in enumerate(value):
        name = f"{where}: batch[{i}]"
        if not isinstance(entry, dict) or "batch" in entry:
            raise ConfigError(name, checks.shown(entry), "must be a command about accounts, and no batch")
        trades.append(parse_trade(entry, name))
    return trades


def _read_options(given: Mapping[str, Any], known: Mapping[str, _Option], where: str) -> dict[str, Any]:
    checks.only(given, where, *known)
    options: dict[str, Any] = {}
    for name, (check, default, read) in known.items():
        if name in given:
            checks.check(where, name, given[name], check)
            options[name] = read(given[name])
        elif default is _REQUIRED:
            raise ConfigError(f"{where}: {name}", None, "must be given")
        else:
            options[name] = default
    return options


def carry_out(bank: Bank, trade: Trade, now_s: float) -> dict[str, Any]:
    """Do what a command says and return the reply of the control port.

    Args:
        bank: Where; what is to be told waits in its outbox afterwards.
        trade: The command.
        now_s: The exchange's time.

    Raises:
        ConfigError: It cannot be done; nothing has changed.
    """
    if trade.verb == "batch":
        replies = [_carefully(bank, each, now_s) for each in trade.about]
        return {"ok": all(reply["ok"] for reply in replies), "replies": replies}
    return {"ok": True, **_DO[trade.verb](bank, trade.about, now_s, trade.options)}


def _carefully(bank: Bank, trade: Trade, now_s: float) -> dict[str, Any]:
    try:
        return carry_out(bank, trade, now_s)
    except ConfigError as exc:
        return {"ok": False, "error": str(exc)}


_Reply = dict[str, Any]
_Options = Mapping[str, Any]


def _place(bank: Bank, _about: None, now_s: float, options: _Options) -> _Reply:
    order_id = bank.place(
        bank.key_name(options["key"]),
        options["product_id"],
        options["side"],
        options["size"],
        options["price"],
        now_s,
        order_type=options["type"],
        status=Status(options["status"]),
        fails=options["fail"],
        client_order_id=options["client_order_id"],
    )
    return {"order_id": order_id}


def _fill(bank: Bank, order_id: str, now_s: float, options: _Options) -> _Reply:
    bank.fill(order_id, now_s, size=options["size"], price=options["price"], fee=options["fee"])
    return {}


def _cancel(bank: Bank, order_id: str, now_s: float, options: _Options) -> _Reply:
    bank.cancel(order_id, now_s, is_queued=options["queued"])
    return {}


def _expire(bank: Bank, order_id: str, now_s: float, _options: _Options) -> _Reply:
    bank.expire(order_id, now_s)
    return {}


def _edit(bank: Bank, order_id: str, now_s: float, options: _Options) -> _Reply:
    bank.edit(order_id, now_s, price=options["price"], size=options["size"])
    return {}


def _open(bank: Bank, order_id: str, now_s: float, _options: _Options) -> _Reply:
    bank.open_order(order_id, now_s)
    return {}


def _status(bank: Bank, order_id: str, _now_s: float, options: _Options) -> _Reply:
    bank.tell_status(order_id, options["as"])
    return {}


def _deposit(bank: Bank, currency: str, now_s: float, options: _Options) -> _Reply:
    bank.deposit(bank.key_name(options["key"]), currency, options["amount"], now_s)
    return {}


def _replay(bank: Bank, n: int, _now_s: float, options: _Options) -> _Reply:
    key_name = bank.key_name(options["key"])
    return {"replayed": bank.outbox.replay(key_name, n, is_shuffled=options["shuffled"])}


def _hush(bank: Bank, is_hushed: bool, _now_s: float, _options: _Options) -> _Reply:
    bank.outbox.is_hushed = is_hushed
    return {}


def _lose(bank: Bank, n: int, _now_s: float, _options: _Options) -> _Reply:
    bank.outbox.to_lose = n
    return {}


def _lag(bank: Bank, lag_s: float, _now_s: float, _options: _Options) -> _Reply:
    bank.lag_s = lag_s
    return {}


def _accounts(bank: Bank, _about: None, now_s: float, options: _Options) -> _Reply:
    key_name = bank.key_name(options["key"])
    reply: _Reply = {"accounts": bank.truth(key_name), "version": bank.version, "time_s": now_s}
    if options["orders"] != "none":
        reply["orders"] = bank.true_orders(key_name, also_finished=options["orders"] == "all")
    return reply


def _history(bank: Bank, _about: None, _now_s: float, options: _Options) -> _Reply:
    history = bank.history(bank.key_name(options["key"]), options["since_s"])
    return {"history": history, "version": bank.version}


_DO: dict[str, Callable[[Bank, Any, float, _Options], _Reply]] = {
    "order": _place,
    "fill": _fill,
    "cancel": _cancel,
    "expire": _expire,
    "edit": _edit,
    "open": _open,
    "status": _status,
    "deposit": _deposit,
    "replay": _replay,
    "hush": _hush,
    "lose": _lose,
    "accounts_lag_s": _lag,
    "query accounts": _accounts,
    "query history": _history,
}
