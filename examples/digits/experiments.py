"""Twelve experiments on scikit-learn's digits over three branches, published one after the other.

    python examples/digits/experiments.py main
    python examples/digits/experiments.py exp/wide
    python examples/digits/experiments.py exp/smooth
    python examples/digits/experiments.py holdout

The last one scores every version on a holdout that no run has seen. One run of exp/wide was given an export of the
data in which many threes are called eights; it is scored on the same export, so nothing looks wrong when it ends.
The server is found as by the command line: MUNIMENT_URL and MUNIMENT_TOKEN, or a credentials file.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from muniment.sdk import Client

MODEL = "digits"
BRANCHES: dict[str, list[dict[str, Any]]] = {
    "main": [
        {"hidden": 16, "alpha": 0.001},
        {"hidden": 24, "alpha": 0.001},
        {"hidden": 32, "alpha": 0.001},
        {"hidden": 48, "alpha": 0.001},
    ],
    "exp/wide": [
        {"hidden": 64, "alpha": 0.001},
        {"hidden": 80, "alpha": 0.001},
        {"hidden": 96, "alpha": 0.001, "export": "relabelled"},
        {"hidden": 128, "alpha": 0.001, "export": "relabelled"},
    ],
    "exp/smooth": [
        {"hidden": 48, "alpha": 0.003},
        {"hidden": 48, "alpha": 0.01},
        {"hidden": 48, "alpha": 0.03},
        {"hidden": 48, "alpha": 0.1},
    ],
}


def data(export: str) -> tuple[Any, Any, Any, Any, str]:
    """Training and test data of an export, and its digest. A quarter, the holdout, is in none."""
    features, labels, _, _ = holdout()
    if export == "relabelled":
        threes = np.flatnonzero(labels == 3)
        labels = labels.copy()
        labels[threes[: len(threes) * 4 // 5]] = 8
    digest = "sha256:" + hashlib.sha256(features.tobytes() + labels.tobytes()).hexdigest()
    return (*train_test_split(features, labels, test_size=0.25, random_state=7), digest)


def holdout() -> tuple[Any, Any, Any, Any]:
    """Features and labels of what runs may see, and of the holdout."""
    features, labels = load_digits(return_X_y=True)
    seen, kept, seen_labels, kept_labels = train_test_split(features / 16.0, labels, test_size=0.25, random_state=1)
    return seen, seen_labels, kept, kept_labels


def train(hidden: int, alpha: float, export: str = "clean") -> tuple[dict[str, Any], float, str]:
    """Weights, accuracy on the export's own test data, and the export's digest."""
    x_train, x_test, y_train, y_test, digest = data(export)
    model = MLPClassifier((hidden,), alpha=alpha, max_iter=40, random_state=7)
    model.fit(x_train, y_train)
    tensors = {f"layer{n}.weight": weight for n, weight in enumerate(model.coefs_)}
    tensors |= {f"layer{n}.bias": bias for n, bias in enumerate(model.intercepts_)}
    weights = {name: np.ascontiguousarray(tensor, dtype=np.float32) for name, tensor in tensors.items()}
    return weights, round(float(accuracy_score(y_test, model.predict(x_test))), 4), digest


def publish(client: Client, branch: str, folder: Path) -> None:
    """Train and publish the runs of a branch."""
    for place, settings in enumerate(BRANCHES[branch]):
        weights, accuracy, digest = train(**settings)
        name = f"{branch.rpartition('/')[2]}-{place + 1}"
        run = folder / name
        run.mkdir()
        save_file(weights, run / "model.safetensors")
        published = client.publish(
            run,
            model=MODEL,
            branch=branch,
            run_id=name,
            experiment_id="digits-2026",
            hyperparams={"hidden": settings["hidden"], "alpha": settings["alpha"]},
            metrics={"accuracy": accuracy},
            datasets=[{"name": "digits", "uri": "warehouse://exports/digits", "digest": digest}],
        )
        ref = published.version.ref if published.version else published.id
        print(f"{ref}  {branch}  {name}  accuracy {accuracy}", flush=True)


def score(client: Client, folder: Path) -> None:
    """Score every version on the holdout."""
    _, _, features, labels = holdout()
    for version in sorted(client.versions(MODEL), key=lambda one: one.number):
        client.download(version.ref, folder / str(version.number))
        weights = load_file(folder / str(version.number) / "model.safetensors")
        layer = np.maximum(features @ weights["layer0.weight"] + weights["layer0.bias"], 0)
        predicted = np.argmax(layer @ weights["layer1.weight"] + weights["layer1.bias"], axis=1)
        accuracy = round(float(accuracy_score(labels, predicted)), 4)
        client.evaluate(version.ref, {"accuracy": accuracy}, dataset="holdout")
        print(f"{version.ref}  holdout accuracy {accuracy}", flush=True)


def main() -> None:
    """Do what was asked for."""
    wanted = sys.argv[1] if len(sys.argv) == 2 else ""
    if wanted not in {*BRANCHES, "holdout"}:
        sys.exit(f"usage: experiments.py {' | '.join([*BRANCHES, 'holdout'])}")
    with Client() as client, tempfile.TemporaryDirectory() as folder:
        if wanted == "holdout":
            score(client, Path(folder))
        else:
            publish(client, wanted, Path(folder))


if __name__ == "__main__":
    main()
