"""Write a signature of ours over `model/` for the public tool to verify (it is no dependency of the suite):

python tests/unit/contracts/oms/golden/make_ours.py /tmp/ours
model_signing verify key tests/unit/contracts/oms/golden/model --signature /tmp/ours/muniment.sig --public_key /tmp/ours/muniment.pub
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from muniment.contracts.canonical import canonical_json
from muniment.contracts.oms.keys import SigningKey, new_signing_key
from muniment.contracts.oms.statement import FileDigest, statement_bytes


def main() -> None:
    model, out = Path(__file__).parent / "model", Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    key = SigningKey(new_signing_key())
    files = [
        FileDigest(path.relative_to(model).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest())
        for path in model.rglob("*")
        if path.is_file()
    ]
    (out / "muniment.sig").write_bytes(canonical_json(key.sign(statement_bytes("model", files))))
    (out / "muniment.pub").write_bytes(key.public_key)


if __name__ == "__main__":
    main()
