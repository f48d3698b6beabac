"""What `unsure=auto` promises beside what it reaches, over random splits, and what it notices."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from photos import model_config
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.preprocessing import normalize

from pets.demo import draw_pets
from pets.interpretation.calibration import at_temperature, fit_temperature
from pets.models.classifier import new_backbone, new_classifier
from pets.probe.head import choose_c, fit_head
from pets.unsure.conformal import fit_thresholds, measure, sets_of
from pets.unsure.fit import logits_and_features
from pets.unsure.novelty import fit_typical, limit_of
from pets.unsure.rule import Unsure

COVERAGES = (0.8, 0.85, 0.9, 0.95, 0.98)
SPLITS, DRAWS, HELD_OUT = 20, 5, 7
Floats = np.ndarray


def main() -> None:
    """Print two tables of coverage and one of what is noticed, and draw the former."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="in the Oxford pets layout")
    parser.add_argument("--other", type=Path, required=True, help="photos of other things")
    parser.add_argument("--work", type=Path, required=True, help="for drawn photos, features, PNG")
    asked = parser.parse_args()
    if not (asked.work / "drawn").exists():
        draw_pets(asked.work / "drawn")
    folders = {"real": asked.data / "images", "drawn": asked.work / "drawn/images"}
    real, drawn = (features_of(folder, asked.work / name) for name, folder in folders.items())
    others = {"drawn": drawn[0], "other things": features_of(asked.other, asked.work / "other")[0]}
    figure = Figure((7, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    coverage(*real, left)
    coverage(*drawn, right)
    left.set(title="real pets", xlabel="promised", ylabel="sets with the right class")
    right.set(title="drawn pets", xlabel="promised", ylim=(0.74, 1.005))
    figure.savefig(asked.work / "not_sure.png", dpi=110)
    novelty(*real, others)


def features_of(folder: Path, kept: Path) -> tuple[Floats, Floats]:
    """Return EfficientNet-Lite0's features of photos, and their names up to the last _."""
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in (".jpg", ".jpeg"))
    if not (kept := kept.with_suffix(".npy")).exists():
        config = model_config("efficientnet_lite0")
        backbone, preprocess, _ = new_backbone(config, 0)
        model = new_classifier(backbone, config, ["a", "b"], preprocess, (224, 224), 0).eval()
        np.save(kept, logits_and_features(model, files, torch.device("cpu"), 64, 0)[1])
    return np.load(kept), np.array([file.stem.rpartition("_")[0] for file in files])


def coverage(features: Floats, names: Floats, axes) -> None:
    """Train heads on half of the photos, fit the sets on a quarter, measure on a quarter."""
    classes, labels = np.unique(names, return_inverse=True)
    found, by_class, right, c = {}, {}, [], None
    for train, rest in StratifiedShuffleSplit(SPLITS, test_size=0.5, random_state=0).split(
        features, labels
    ):
        valid, test = rest[::2], rest[1::2]
        c = c or choose_c(features[train], labels[train], 0)[0]
        head = fit_head(features[train], labels[train], c)
        logs = [head.predict_log_proba(features[rows]) for rows in (valid, test)]
        temperature = fit_temperature(logs[0], labels[valid])
        fitted, tested = (np.exp(at_temperature(log, temperature)) for log in logs)
        right.append((tested.argmax(1) == labels[test]).mean())
        for share in COVERAGES:
            least, own = vars(fit_thresholds(fitted, labels[valid], share)).values()
            its = measure(tested, labels[test], least, share, len(valid))
            sets = sets_of(tested, least)
            within, one = sets[np.arange(len(test)), labels[test]], sets.sum(1) == 1
            cells = its.coverage, its.size, one.mean(), within[one].mean(), its.is_kept, own.sum()
            found.setdefault(share, []).append(cells)
            counts = [np.bincount(labels[test], w, len(classes)) for w in (within, None)]
            by_class.setdefault(share, []).append(counts)
    print(f"\n{len(train)} photos of {len(classes)} classes train a head (C={c:g}), {len(valid)} "
          f"promise, {len(test)} test, {np.mean(right):.1%} right\n")  # fmt: skip
    print("| promised | reached: mean (lowest, highest) | kept | classes in a set | sets of one, "
          "right | own thresholds | worst class | classes that reach it |")  # fmt: skip
    for share, rows in found.items():
        reached, (mean, size, one, sure, kept, own) = [row[0] for row in rows], np.mean(rows, 0)
        low = np.divide(*np.sum(by_class[share], 0))
        print(f"| {share:.0%} | {mean:.1%} ({min(reached):.1%}, {max(reached):.1%}) | {kept:.0%} "
              f"| {size:.2f} | {one:.0%}, {sure:.1%} | {own:.1f} | {low.min():.0%}, "
              f"{classes[low.argmin()]} | {(low >= share).sum()} of {len(low)} |")  # fmt: skip
        axes.plot(share + np.linspace(-0.004, 0.004, SPLITS), reached, ".", color="#4c78a8")
        axes.plot(share, mean, "D", color="#1f3b5c")
    axes.plot([0.78, 1], [0.78, 1], color="#888888", lw=1)
    axes.axhline(np.mean(right), color="#888888", lw=1, ls=":", label="the best class alone")
    axes.legend(loc="lower right", frameon=False)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:.0%}")


def novelty(features: Floats, names: Floats, others: dict[str, Floats]) -> None:
    """Hold classes out, and tell these and other photos from photos of known classes."""
    table: dict[str, dict[str, list[list[float]]]] = {}
    for seed in range(DRAWS):
        random = np.random.default_rng(seed)
        out = np.isin(names, random.choice(np.unique(names), HELD_OUT, replace=False))
        rows = random.permutation(np.flatnonzero(~out))
        train, valid, test = np.split(rows, [3 * len(rows) // 5, 4 * len(rows) // 5])
        for name, far in distances(features[train], names[train]).items():
            here, limit = far(features[test]), limit_of(far(features[valid]), 0.05)
            for what, photos in (others | {"held out": features[out]}).items():
                there = far(photos)
                score = roc_auc_score(np.repeat([0, 1], [len(here), len(there)]), [*here, *there])
                cells = [score, (there >= limit).mean(), (here >= limit).mean(), len(photos)]
                table.setdefault(what, {}).setdefault(name, []).append(cells)
    print("\n| area under the ROC curve (noticed; false alarms) | " + " | ".join(table["drawn"]))
    for what, columns in table.items():
        means = [np.mean(cells, 0) for cells in columns.values()]
        shown = [f"{area:.3f} ({share:.0%}; {false:.1%})" for area, share, false, _ in means]
        print(f"| {means[0][3]:.0f} photos, {what} | {' | '.join(shown)} |", flush=True)


def distances(features: Floats, names: Floats) -> dict:
    """Return ways to say how far features are from those of training photos."""
    classes, labels = np.unique(names, return_inverse=True)
    typical, head = fit_typical(features, labels, len(classes)), fit_head(features, labels, 1e-2)
    return {
        "this one": Unsure(list(classes), [], 0, 1.0, **vars(typical)).distances,
        "nearest training photo": lambda new: -(normalize(new) @ normalize(features).T).max(1) + 2,
        "the best class's probability": lambda new: 1 - head.predict_proba(new).max(1),
    }


if __name__ == "__main__":
    main()
