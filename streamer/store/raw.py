"""Commands packed by us and sent over redis-py's connections.

A client of redis-py builds, checks and packs each command anew, and measures each: that costs as much as a small
command itself. Its connections (TLS, passwords, reconnects) are what the hot paths need.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

Command = Sequence[str | bytes | int]


def pack(command: Command) -> bytes:
    """Return a command as it goes over the wire (RESP)."""
    parts = [b"*%d\r\n" % len(command)]
    for word in command:
        data = word if isinstance(word, bytes) else str(word).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


async def exchange(pool: Any, packed: bytes, size: int) -> list[Any]:
    """Send `size` packed commands over a connection of an asyncio pool; return their replies, errors among them.

    A connection that was closed while it was idle is replaced once, so commands must bear to be sent twice.

    Raises:
        RedisError, OSError: There is no connection, or it broke off.
    """
    for last in (False, True):
        connection = await pool.get_connection()
        try:
            await connection.send_packed_command(packed, check_health=False)
            replies = [await _next(connection) for _ in range(size)]
        except RedisConnectionError:
            await connection.disconnect(nowait=True)
            if last:
                raise
            continue
        except BaseException:
            await connection.disconnect(nowait=True)  # what is still to come would answer the next question
            raise
        finally:
            await pool.release(connection)
        return replies
    raise AssertionError("unreachable")


async def _next(connection: Any) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as exc:
        return exc
