"""The HTTP surface: what the reader knows and the wanted set, for programs and people."""
