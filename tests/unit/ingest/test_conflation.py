"""Updates that a newer one replaces before they are written: each is counted once, in the book or on its way."""

from __future__ import annotations

import msgspec

from streamer.coinbase.intake import Frame, TickerIntake
from streamer.coinbase.messages import TICKER, Decoder
from streamer.coinbase.session import Session
from streamer.ingest.books import TickerBook
from streamer.model import ProductId, Source, Stamp
from tests.unit.ingest.test_books import BTC, ETH, tick

STAMP = Stamp("market-0", 1, Source.COINBASE)


def test_what_waits_and_changes_is_conflated() -> None:
    """Not the first change since it was last written, and not what was refused or only written again."""
    book = TickerBook()
    book.apply(BTC, tick(1))
    assert book.conflated == 0
    book.apply(BTC, tick(2))
    book.apply(BTC, tick(2))
    book.apply(ETH, tick(3))
    assert (book.conflated, book.refused) == (1, 1)
    book.drain(10)
    book.apply(BTC, tick(4))
    book.rewrite([ETH], 1.0)
    assert book.conflated == 1


def test_every_update_is_written_or_conflated() -> None:
    """Of the frames of a turn the newest of each product reaches the book; the others are told as superseded."""
    book, decoder = TickerBook(), Decoder()
    session = Session(channel=TICKER)
    session.want([BTC, ETH])
    intake = TickerIntake(decoder, book.apply, lambda product_ids: None, book.superseded)
    intake.opened(session, STAMP)
    sequence, written = 0, 0
    for turn in (["BTC-USD"], ["BTC-USD", "ETH-USD", "BTC-USD", "BTC-USD"], ["ETH-USD", "ETH-USD"], ["BTC-USD"]):
        frames = []
        for name in turn:
            sequence += 1
            frames.append(frame(decoder, sequence, name))
        intake.take(frames)
        if sequence != 1:
            written += len(book.drain(10))
    assert (sequence, written, book.dirty) == (8, 4, 0)
    assert book.conflated == sequence - written


def frame(decoder: Decoder, sequence: int, product_id: str) -> Frame:
    """A frame with one ticker."""
    payload = {
        "channel": "ticker",
        "timestamp": "2026-11-20T15:04:06.25Z",
        "sequence_num": sequence,
        "events": [
            {"type": "update", "tickers": [{"product_id": ProductId(product_id), "price": str(sequence)}]},
        ],
    }
    return Frame(decoder.decode(msgspec.json.encode(payload)), sequence, float(sequence))
