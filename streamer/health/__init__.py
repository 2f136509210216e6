"""Is it alive: verdicts, the probe."""
