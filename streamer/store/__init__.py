"""The Redis contract: key names, records, connections, the embedded server."""
