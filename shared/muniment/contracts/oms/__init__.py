"""OpenSSF Model Signing (OMS) 1.0: detached signatures of a model's files, and in-toto statements signed the same way.

`bundle` reads and writes the Sigstore bundle, `statement` what is signed, `keys` signs, `trust` says whom to believe,
`keyless` whom Sigstore vouches for (by its public library, an extra), `judging` puts them together. Files are given by
path, digest and size, never read here.
"""
