"""Webhooks: what others post to us, proved to be theirs, taken once, kept and passed on."""
