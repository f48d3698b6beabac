"""What a study found, in a few plain numbers."""

from __future__ import annotations

from typing import Any

from pets.interpretation.analysis import Study


def summary(study: Study) -> dict[str, Any]:
    """What a summary says of a study: plain values, for cards, tables and scripts."""
    found, (before, after) = study.found, study.calibration
    report = found.classification_report()
    return {
        "split": study.split,
        "photos": len(found),
        "unreadable": list(study.observed.problems.values()),
        "accuracy": found.accuracy,
        "accuracy_interval": list(found.accuracy_interval),
        "error_rate": 1 - found.accuracy,
        "mean_class_accuracy": float(report["recall"].mean()),
        "loss": float(found.table["loss"].mean()),
        "views": study.view_accuracy,
        "same_as_training_photos": study.seen_in_training,
        "temperature": study.temperature if study.calibrated else None,
        "ece": before.ece,
        "ece_at_temperature": after.ece,
        "most_confused": [list(pair) for pair in found.most_confused()[:50]],
        "suspects": len(study.suspects),
    }
