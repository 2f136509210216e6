"""`scripts/random_orders.py` with few orders: everything is played, and nothing is found."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import PATIENCE

pytestmark = pytest.mark.faults

SCRIPT = Path(__file__).parents[2] / "scripts" / "random_orders.py"
ORDERS = 150


def test_random_orders_end_with_the_balances_of_the_exchange(tmp_path: Path) -> None:
    """Whatever happens to orders and wire, what is confirmed is true, and in the end everything is."""
    options = ("--orders", str(ORDERS), "--seed", "7", "--calm-s", "0", "--rate", "20", "--json")
    bound = ("--bound-ms", str(500 * PATIENCE), "--keep", str(tmp_path / "rig"))
    run = subprocess.run(
        [sys.executable, str(SCRIPT), *options, *bound],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=110 * PATIENCE,
        check=False,
    )
    assert run.stdout, run.stderr
    found = json.loads(run.stdout)
    assert found["final"] == "exact", found
    assert not found["violations"], found["first"]
    assert run.returncode == 0
    assert found["orders"] >= ORDERS and found["confirmed"] and found["derived"] and found["suspect"]
