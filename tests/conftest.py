"""What all tests share: how hard the property tests look, and what cases are called."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

_LONGEST_ID = 40
_TESTS = Path(__file__).parent

# Not derandomized: every run looks elsewhere, and the printed blob brings a failure back.
settings.register_profile("ci", max_examples=200, deadline=None, derandomize=False, print_blob=True)
settings.load_profile("ci")


@pytest.hookimpl(tryfirst=True)  # before marks are looked at
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever injects faults or drives a browser has the machine to itself."""
    for item in items:
        if any(item.path.is_relative_to(_TESTS / name) for name in ("faults", "browser")):
            item.add_marker(pytest.mark.timed)


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Number cases with long values: a key that each process makes anew would give them other names in each."""
    return argname if isinstance(val, str) and len(val) > _LONGEST_ID else None
