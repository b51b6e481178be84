"""The registry's state made anew from the audit log and the manifests in the store, and compared with the live one.

`folding` and `reported` turn entries into what they say (pure), `manifests` reads the store, `writing` fills a fresh
database, `comparing` holds two databases against each other row by row, `digested` rows against the digest that the log
has of them, `work` does all of it. docs/rebuilding.md tells which changes each entry must carry.
"""
