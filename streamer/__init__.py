"""Market-data streamer: one ingester, Redis in the middle, honest readers."""
