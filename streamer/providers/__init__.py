"""Where data comes from that is not streamed: what a source can be asked, and the sources."""
