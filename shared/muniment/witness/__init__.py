"""A witness (C2SP tlog-witness): cosigns the checkpoints of logs it knows, and only if each log has merely grown.

It runs where the log's keeper has no hand: with a key and a state of its own. Reads and verifies with
`muniment.verifier` alone, so it is as independent of the log's writer as the verifier is.
"""
