"""The wire contract: words, ids, events, topics, manifest and error kinds. Pure: no I/O, no clock, no framework."""
