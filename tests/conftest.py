"""What all tests share: how hard the property tests look."""

from __future__ import annotations

from hypothesis import settings

# Not derandomized: every run looks elsewhere, and the printed blob brings a failure back.
settings.register_profile("ci", max_examples=200, deadline=None, derandomize=False, print_blob=True)
settings.load_profile("ci")
