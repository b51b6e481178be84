"""Two real models, trained on scikit-learn's digits, each in a folder with its weights and configuration."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished training run: its folder, and what it says of itself."""

    folder: Path
    name: str
    hyperparams: dict[str, Any]
    metrics: dict[str, float]


def train_both(folder: Path) -> tuple[Trained, Trained]:
    """Train a linear and a small neural classifier; both are scored on the same held-out quarter."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import accuracy_score, f1_score
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier

    features, labels = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(features / 16.0, labels, test_size=0.25, random_state=7)
    results = []
    for name, hyperparams, model in (
        ("logistic", {"C": 0.5, "max_iter": 400}, LogisticRegression(C=0.5, max_iter=400)),
        (
            "mlp",
            {"hidden": 256, "alpha": 0.001, "max_iter": 60},
            MLPClassifier((256,), alpha=0.001, max_iter=60, early_stopping=True, random_state=7),
        ),
    ):
        model.fit(x_train, y_train)
        predicted = model.predict(x_test)
        metrics = {
            "accuracy": round(float(accuracy_score(y_test, predicted)), 4),
            "f1_macro": round(float(f1_score(y_test, predicted, average="macro")), 4),
        }
        results.append(_write(folder / name, name, model, hyperparams, metrics))
    return results[0], results[1]


def _write(folder: Path, name: str, model: Any, hyperparams: dict[str, Any], metrics: dict[str, float]) -> Trained:
    import numpy as np
    from safetensors.numpy import save_file

    folder.mkdir(parents=True)
    if name == "mlp":
        tensors = {f"layer{i}.weight": w.T for i, w in enumerate(model.coefs_)}
        tensors |= {f"layer{i}.bias": b for i, b in enumerate(model.intercepts_)}
    else:
        tensors = {"weight": model.coef_, "bias": model.intercept_}
    save_file(
        {key: np.ascontiguousarray(value, dtype=np.float32) for key, value in tensors.items()},
        str(folder / "model.safetensors"),
    )
    config = {"architecture": name, "classes": 10, "input": [64], "scale": 16, "hyperparams": hyperparams}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", "utf-8")
    return Trained(folder, name, hyperparams, metrics)
