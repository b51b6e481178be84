"""Evidence packs: one file for an auditor with everything that the log says of a model, and the proofs of it."""
