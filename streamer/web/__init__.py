"""The HTTP surface: what the reader knows and the wanted set, for programs and people.

For FastAPI applications of others there are a dependency, its end, and problem details:

    from streamer.web import add_problem_handlers, lifespan, reader

    app = FastAPI(title="portfolio", lifespan=lifespan)
    add_problem_handlers(app)

    @app.get("/price/{product_id}")
    async def price(product_id: str, prices: Annotated[AsyncReader, Depends(reader)]) -> str:
        return str((await prices.ticker(product_id)).value.price)

What is named here is loaded when it is first used.
"""

from __future__ import annotations

TYPE_CHECKING = False  # to type checkers it is true by its name
if TYPE_CHECKING:
    from streamer.web.dependency import lifespan, reader
    from streamer.web.problems import add_problem_handlers

__all__ = ["add_problem_handlers", "lifespan", "reader"]

_HOMES = {
    "add_problem_handlers": "streamer.web.problems",
    "lifespan": "streamer.web.dependency",
    "reader": "streamer.web.dependency",
}


if not TYPE_CHECKING:  # it would take any name for one that is offered

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
