"""Words from outside, fit for a terminal. Imports nothing: a probe cannot afford more."""


def plain(text: str) -> str:
    """Return `text` on one line, with '?' for whatever could steer a terminal or cannot be encoded."""
    return "".join(char if char.isprintable() else "?" for char in text)
