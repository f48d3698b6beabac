"""What stands in each section of the page, as plain values for its template."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import numpy as np

from pets.data.photos import OTHER
from pets.data.splits import TEST
from pets.interpretation.analysis import Neighbour, Study
from pets.interpretation.confusion import order_by_confusion
from pets.interpretation.layers import Patch
from pets.io.pictures import jpeg
from pets.report.image_budget import Album
from pets.report.published import LESSON_PAIRS, PUBLISHED, same_split, split_in_words

PAIRS = 12  # most confused pairs with photos; the matrix has them all
CELLS = 60  # classes in the matrix; beyond that those most confused
SUSPECTS = 36  # label suspects with photos; the CSV has them all
A_CLASS = 4  # photos of a class in its galleries


class Sections:
    """Reads a study, and takes the photos it shows into the album, the important ones first."""

    def __init__(self, study: Study, album: Album) -> None:
        self.study, self.found, self.album = study, study.found, album
        self.captions: dict[int, dict[str, str]] = {}

    def numbers(self) -> dict[str, Any]:
        """The headline: accuracy with its interval, and the published numbers beside it."""
        study, found, data = self.study, self.found, self.study.trained.config.data
        photos, report = len(found), found.classification_report()
        published = PUBLISHED.get(data.name, ()) if study.split != OTHER else ()
        beside = [(entry, same_split(entry, data, study.split, photos)) for entry in published]
        return {
            "accuracy": found.accuracy,
            "interval": found.accuracy_interval,
            "mean_class_accuracy": float(report["recall"].mean()),
            "loss": float(found.table["loss"].mean()),
            "photos": photos,
            "errors": int((~found.correct).sum()),
            "classes": int((report["photos"] > 0).sum()),
            "absent": [name for name in found.classes if not report.loc[name, "photos"]],
            "split": f"{study.root}, {photos:,} photos"
            if study.split == OTHER
            else split_in_words(data, study.split, photos),
            "published": beside,
            "same": any(same for _, same in beside),
        }

    def top_losses(self) -> list[dict[str, Any]]:
        """Photos with the highest loss, their Grad-CAMs and nearest training photos."""
        rows = self.found.top_losses(self.study.settings.top_losses).index.tolist()
        near = self.study.neighbours(rows)
        shown = []
        for row in rows:
            photos = self._photos([row])
            if photos:
                shown.append(photos[0] | {"cams": self._cams(row), "near": self._near(near[row])})
        return shown

    def confused_pairs(self) -> list[dict[str, Any]]:
        """The most confused pairs: the photos that were taken for another class, what training
        photos lie next to them, and photos of both classes that were recognised."""
        found, lesson = self.found, self.study.trained.config.data.name == "oxford_pets"
        shown = []
        for actual, predicted, count in found.most_confused()[:PAIRS]:
            rows = self._cell(actual, predicted)
            near = self.study.neighbours(rows[:1])
            shown.append(
                {
                    "actual": actual,
                    "predicted": predicted,
                    "count": count,
                    "back": len(self._cell(predicted, actual)),
                    "of": int((found.table["label"] == actual).sum()),
                    "lesson": lesson and frozenset({actual, predicted}) in LESSON_PAIRS,
                    "mistaken": self._photos(rows[:A_CLASS]),
                    "right": {
                        name: self._photos(found.most_correct(name, A_CLASS).index.tolist())
                        for name in (actual, predicted)
                    },
                    "near": self._near(near[rows[0]]),
                }
            )
        return shown

    def galleries(self) -> dict[str, dict[str, Any]]:
        """Random right and wrong ones, and the most uncertain: those that have room, and whether
        there are any."""
        found, k = self.found, self.study.settings.gallery
        seed = self.study.trained.config.seed
        chosen = {
            "Wrong, at random": found.random_incorrect(k, seed),
            "Right, at random": found.random_correct(k, seed),
            "Most uncertain": found.most_uncertain(k),
        }
        return {
            name: {"shown": self._photos(rows.index.tolist()), "exist": len(rows) > 0}
            for name, rows in chosen.items()
        }

    def suspects(self) -> dict[str, Any]:
        """Labels that are probably wrong, the most suspect first."""
        paths = self.study.all.table["path"]
        place = dict(zip(paths, self.study.observed.places, strict=True))
        rows = []
        for row in self.study.suspects.head(SUSPECTS).to_dict("records"):
            number = place[row["path"]]
            words = f"labelled {row['given']}, looks like {row['label']}"
            self._caption(number, row["path"], words)
            rows.append({**row, "photo": number if self.album.fit([number]) else None})
        splits = self.study.suspects["split"]
        return {"rows": rows, "total": len(splits), "test": int((splits == TEST).sum())}

    def classes(self) -> list[dict[str, Any]]:
        """A row a class: its numbers, and the class it is most often taken for."""
        report, matrix = self.found.classification_report(), self.found.confusion_matrix()
        wrong = matrix.to_numpy().copy()
        np.fill_diagonal(wrong, 0)
        numbers: Any = report.astype(object).where(report.notna(), None).to_dict("index")
        rows: list[dict[str, Any]] = []
        for i, name in enumerate(self.found.classes):
            taken = int(wrong[i].argmax())
            confused = f"{self.found.classes[taken]} ({wrong[i, taken]})" if wrong[i].any() else ""
            rows.append({"name": name, "confused": confused, **numbers[name]})
        return rows

    def class_galleries(self) -> dict[str, Any]:
        """By class: the surest right ones and the furthest wrong ones."""
        return {
            name: {
                "correct": self._ids(self.found.most_correct(name, A_CLASS).index.tolist()),
                "incorrect": self._ids(self.found.most_incorrect(name, A_CLASS).index.tolist()),
            }
            for name in self.found.classes
        }

    def matrix(self) -> dict[str, Any]:
        """The confusion matrix in an order that puts confusions side by side, and each cell's
        photos as far as there is room."""
        counts = self.found.confusion_matrix().to_numpy()
        order = order_by_confusion(counts.astype(float))
        left_out = max(len(order) - CELLS, 0)
        if left_out:
            wrong = counts.sum(1) + counts.sum(0) - 2 * counts.diagonal()
            chosen = set(np.argsort(-wrong, kind="stable")[:CELLS].tolist())
            order = [i for i in order if i in chosen]
        names = [self.found.classes[i] for i in order]
        cells = {}
        # The mistakes first: where room is short, right ones are the ones to miss.
        pairs = [(a, p) for a in order for p in order if counts[a, p]]
        for a, p in sorted(pairs, key=lambda pair: pair[0] == pair[1]):
            rows = self._cell(self.found.classes[a], self.found.classes[p])
            wanted = rows if a != p else rows[: self.study.settings.gallery]
            cells[f"{order.index(a)}-{order.index(p)}"] = {
                "count": int(counts[a, p]),
                "share": counts[a, p] / counts[a].sum(),
                "photos": self._ids(wanted),
            }
        return {"names": names, "cells": cells, "left_out": left_out}

    def layers(self) -> dict[str, Any]:
        """The first kernels, and for each stage the strongest patches of its channels."""
        stages = []
        for stage in self.study.stages:
            height, width = stage.field.pixels
            channels = {c: [_patch(p) for p in ps] for c, ps in stage.patches.items() if ps}
            # A ring is drawn where a patch is so large that one would not know where to look.
            large = max(height, width) > 0.5 * max(self.study.trained.model.size)
            stages.append(
                {"name": stage.name, "channels": channels, "large": large,
                 "sees": f"{height} x {width} pixels"}
            )  # fmt: skip
        return {
            "stages": stages,
            "kernels": self.study.kernels is not None,
            "wanted": bool(self.study.settings.channels),
        }

    def _cell(self, actual: str, predicted: str) -> list[int]:
        """Rows of one cell of the matrix, the surest mistakes first."""
        table = self.found.table
        rows = table[(table["label"] == actual) & (table["prediction"] == predicted)]
        return rows.sort_values("loss", ascending=False, kind="stable").index.tolist()

    def _photos(self, rows: list[int]) -> list[dict[str, Any]]:
        """What the template shows of those rows that have room."""
        shown = set(self._ids(rows))
        return [
            {"photo": self.study.places[row], **self.found[row]._asdict()}
            for row in rows
            if self.study.places[row] in shown
        ]

    def _ids(self, rows: list[int]) -> list[int]:
        """The photos of rows of `found`, as far as there is room, each with its caption."""
        for row in rows:
            photo = self.found[row]
            how = "recognised" if photo.right else f"taken for {photo.prediction}"
            words = f"{photo.label}, {how}, {100 * photo.p_prediction:.0f} %"
            self._caption(self.study.places[row], photo.path, words)
        return self.album.fit([self.study.places[row] for row in rows])

    def _near(self, neighbours: list[Neighbour]) -> list[dict[str, Any]]:
        for near in neighbours:
            words = f"training photo of {near.label}"
            self._caption(near.place, self.study.photos[near.place].path, words)
        room = set(self.album.fit([near.place for near in neighbours]))
        return [
            {"photo": near.place, "label": near.label, "similarity": near.similarity}
            for near in neighbours
            if near.place in room
        ]

    def _caption(self, place: int, path: str, words: str) -> None:
        self.captions.setdefault(place, {"path": path, "words": words})

    def _cams(self, row: int) -> list[dict[str, Any]]:
        """The maps for the predicted and the actual class, as the page's script draws them."""
        maps = self.study.observed.cams[self.study.places[row]]
        names = self.found[row].prediction, self.found[row].label
        return [
            {"for": name, "height": m.shape[0], "width": m.shape[1],
             "values": b64encode(np.ascontiguousarray(m).tobytes()).decode()}
            for name, m in zip(names, maps, strict=True)
        ]  # fmt: skip


def _patch(patch: Patch) -> dict[str, Any]:
    content = b64encode(jpeg(patch.pixels, 96)).decode()
    return {
        "uri": f"data:image/jpeg;base64,{content}",
        "activation": patch.activation,
        "unit": patch.unit,
    }
