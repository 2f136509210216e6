"""A Coinbase to test against. Imports only errors and model, so a codec bug cannot cancel itself out."""
