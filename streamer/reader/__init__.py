"""The reading half: what is there, how old it is, whether it may be served."""
