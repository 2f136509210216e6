"""Files that commands write: whole or not at all, and what goes wrong in one line."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from streamer.errors import StreamerError

STDOUT = "-"


def write_whole(name: str, content: bytes) -> None:
    """Write a file in one step, or to standard output where its name is "-".

    Whoever reads the file finds what was there before or all of the new; an interruption leaves it as it was.

    Raises:
        StreamerError: It cannot be written; says why.
        BrokenPipeError: Nobody reads standard output any more.
    """
    try:
        if name == STDOUT:
            sys.stdout.flush()
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()
        else:
            _replace(Path(name).resolve(), content)
    except BrokenPipeError:
        raise
    except OSError as exc:
        raise StreamerError(f"{name} cannot be written: {exc.strerror or exc}") from exc


def _replace(path: Path, content: bytes) -> None:
    if path.exists() and not path.is_file():  # a pipe or a device must stay what it is
        path.write_bytes(content)
        return
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        with suppress(FileNotFoundError):
            draft.unlink()
