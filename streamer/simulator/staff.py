"""Carries out the commands about keys, the clock and products. Pure but for what it changes in its arguments."""

from __future__ import annotations

from streamer.simulator.admin import AdminCommand, Expire, Permit, Restore, Revoke, SetClock, SetStatus
from streamer.simulator.catalogue import Catalogue, Status
from streamer.simulator.clock import Clock
from streamer.simulator.keys import JwtChecker


class Staff:
    """The people behind the exchange.

    Args:
        checker: Holds the keys.
        clock: The exchange's clock.
        catalogue: The products.
    """

    def __init__(self, checker: JwtChecker, clock: Clock, catalogue: Catalogue) -> None:
        self._checker, self._clock, self._catalogue = checker, clock, catalogue

    def carry_out(self, command: AdminCommand) -> str | None:
        """Carry out a command; return the name of the key whose connections must be closed now, if any.

        Raises:
            ConfigError: It names a key or product that does not exist.
        """
        match command:
            case Revoke():
                key = self._checker.key(command.key)
                key.is_revoked = True
                return key.name if command.close else None
            case Restore():
                key = self._checker.key(command.key)
                key.is_revoked, key.expires_s = False, None
            case Permit():
                self._checker.key(command.key).scopes.update(command.scopes)
            case Expire():
                self._checker.key(command.key).expires_s = self._clock.now_s() + command.in_s
            case SetClock():
                self._clock.set_offset(command.offset_s)
            case SetStatus():
                self._catalogue.set_status(command.product_id, Status(command.status, command.message))
        return None
