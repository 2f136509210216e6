"""What a command's options must be: checks that return the broken rule in words, or None. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from streamer.errors import ConfigError

Check = Callable[[object], str | None]
"""Says which rule a value breaks, None if none."""


def number(minimum: float, *, above: bool = False) -> Check:
    """Check for a finite number of at least (or above) a minimum."""
    rule = f"must be a number {'above' if above else 'of at least'} {minimum:g}"

    def broken(value: object) -> str | None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return rule
        return None if value > minimum or (value == minimum and not above) else rule

    return broken


def whole(low: int, high: int) -> Check:
    """Check for a whole number within bounds."""

    def broken(value: object) -> str | None:
        fits = type(value) is int and low <= value <= high
        return None if fits else f"must be a whole number from {low} to {high}"

    return broken


def one_of(*allowed: object) -> Check:
    """Check for one of a few values, of the same type."""

    def broken(value: object) -> str | None:
        # type() as well: True == 1, and 1000.0 == 1000.
        fits = any(value == a and type(value) is type(a) for a in allowed)
        return None if fits else f"must be one of {', '.join(map(str, allowed))}"

    return broken


def ids(value: object) -> str | None:
    """Check for a list of product ids."""
    fits = isinstance(value, list) and value and all(isinstance(v, str) and v for v in value)
    return None if fits else "must be a list of product ids, at least one"


def text(value: object) -> str | None:
    """Check for text."""
    return None if isinstance(value, str) else "must be text"


def path(value: object) -> str | None:
    """Check for the beginning of a path."""
    return None if isinstance(value, str) and value.startswith("/") else "must be a path that starts with /"


def only(given: Mapping[str, Any], where: str, *allowed: str) -> None:
    """Refuse options that are not among the allowed ones.

    Raises:
        ConfigError: Names the first that is not.
    """
    unknown = sorted(set(given) - set(allowed))
    if unknown:
        raise ConfigError(where, unknown[0], f"is not an option here (known: {', '.join(allowed) or 'none'})")


def check(where: str, option: str, value: object, rule_of: Check) -> None:
    """Check one option.

    Raises:
        ConfigError: Names the option and the broken rule.
    """
    rule = rule_of(value)
    if rule is not None:
        raise ConfigError(f"{where}: {option}", value, rule)


def shown(value: object) -> str:
    """Return a value as an error shows it: text, and not too long."""
    words = value if isinstance(value, str) else repr(value)
    return words if len(words) <= 60 else words[:57] + "..."
