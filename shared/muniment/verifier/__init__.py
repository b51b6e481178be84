"""Checks a Muniment audit log without trusting whoever keeps it: `muniment-verify`.

Imports the standard library and `cryptography`, nothing else, and shares no code with the service that writes the log:
a mistake there is not repeated here. Formats: C2SP signed-note, tlog-checkpoint, tlog-tiles, tlog-proof and
tlog-cosignature; hashing of RFC 6962.
"""
