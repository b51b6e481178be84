"""`muniment audit verify`: readers of the log's mirrors, for the verifier that shares no code with the writer."""
