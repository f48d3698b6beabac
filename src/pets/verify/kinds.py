"""Findings and their kinds. New kinds are added to `KINDS`."""

from __future__ import annotations

from dataclasses import dataclass

from pets.data.diagnostics import Severity
from pets.registry import Registry

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """A problem of some photos, or of the data set as a whole (no photos).

    Attributes:
        kind: a name in `KINDS`.
        severity: an error stops training.
        what: one sentence.
        photos: paths below `data.root`.
        exclude: the photos proposed for exclusion.
        grouped: the photos belong together, as copies do.
    """

    kind: str
    severity: Severity
    what: str
    photos: tuple[str, ...] = ()
    exclude: frozenset[str] = frozenset()
    grouped: bool = False


@dataclass(frozen=True)
class Kind:
    """A kind of finding.

    Attributes:
        name: its name in `verify.csv` and on the page.
        doc: a one-line explanation for users.
        has_pictures: its photos can be shown.
        names_photos: on the screen photos are named; else the sentence of the first finding stands.
    """

    name: str
    doc: str
    has_pictures: bool = True
    names_photos: bool = True


# In the order of the reports.
KINDS: Registry[Kind] = Registry()
for kind in (
    Kind("unreadable", "Not an image, empty, truncated, too large or unreadable: training stops."),
    Kind("bad name", "Names in another encoding than UTF-8, which no table can hold."),
    Kind("missing", "Named by a table, a list or a link, but missing.", has_pictures=False),
    Kind("ambiguous", "Names in a list or a table that match several photos.", names_photos=False),
    Kind("bad row", "Rows of the table that cannot be used.", False, names_photos=False),
    Kind("unlabelled", "Photos that the labelling rule does not match."),
    Kind("no split", "Photos that belong to no split.", names_photos=False),
    Kind("two splits", "Photos that the lists put into training and test."),
    Kind("one class", "A classifier needs two."),
    Kind("absent class", "Classes without a photo in a split."),
    Kind("same class", "Class names that look the same: probably one class, spelled in two ways."),
    Kind("tiny class", "Few photos to learn a class from.", names_photos=False),
    Kind("conflict", "The same file under different labels: one of them is wrong."),
    Kind("leak", "The same file in two splits: the model would be tested on training photos."),
    Kind("duplicates", "The same file more than once in a split: it counts more than others."),
    Kind("near conflict", "Pictures that look the same, under different labels."),
    Kind("near leak", "Pictures that look the same, in two splits."),
    Kind("near duplicates", "Pictures that look the same: recompressed, resized, mirrored."),
    Kind("damaged", "JPEGs with bytes lost or added: they decode, but pixels may be wrong."),
    Kind("wrong suffix", "Content and name disagree: pets uses the content, others may not."),
    Kind("left out", "Images whose suffix is not that of an image: they are not used."),
    Kind("blank", "All pixels have the same colour."),
    Kind("tiny", "Far too few pixels to recognise anything."),
    Kind("elongated", "Most of such a long image is cropped away before the network sees it."),
    Kind("small", "Smaller than the network's input: enlarged, and so blurred."),
    Kind("huge", "More pixels than training needs: slow to read."),
    Kind("metadata", "EXIF, profiles or texts that cannot be read; the pixels are good."),
    Kind("CMYK", "Meant for print; colours are converted without their profile."),
    Kind("alpha", "Transparent pixels become white."),
    Kind("animation", "Only the first frame is used."),
    Kind("grey", "Without colour."),
    Kind("nested", "Photos in folders inside a class's folder: they count as photos of it."),
    Kind("unused", "Photos that no list, table or split names: they are not used."),
    Kind("not a photo", "Other files: hidden, of a system, of pets, other suffixes.", False),
):  # fmt: skip
    KINDS.add(kind)
