"""All that knows Coinbase: wire messages, sessions, transports, the supervised feed."""
