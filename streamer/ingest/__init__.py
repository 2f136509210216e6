"""The writing half: books, sink, lease, supervisor."""
