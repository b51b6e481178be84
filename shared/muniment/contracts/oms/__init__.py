"""OpenSSF Model Signing (OMS) 1.0: detached signatures of a model's files, and in-toto statements signed the same way.

`bundle` reads and writes the Sigstore bundle, `statement` what is signed, `keys` signs, `trust` says whom to believe,
`judging` puts them together. All pure: files are given by path, digest and size, never read here.
"""
