"""What a finding is, and the kinds that there are."""

from __future__ import annotations

from dataclasses import dataclass

from pets.data.diagnostics import Severity

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """Something about some photos, or about all of them (none named); one sentence says what.

    `exclude` are the photos that had better not be trained on.
    """

    kind: str
    severity: Severity
    what: str
    photos: tuple[str, ...] = ()
    exclude: frozenset[str] = frozenset()
    grouped: bool = False  # the photos belong together


# In the order of the reports; what each is about, for those who read of it for the first time.
KINDS = {
    "unreadable": "No image, empty, cut short, too large, or closed to you: a training stops.",
    "bad name": "Names that no table can hold, in another encoding than UTF-8.",
    "missing": "Named by a table, a list or a link, and not there.",
    "ambiguous": "Names in a list or a table that fit several photos.",
    "bad row": "Rows of the table that cannot be used.",
    "unlabelled": "Photos that the labelling rule does not fit.",
    "no split": "Photos that belong to no split.",
    "two splits": "Photos that the lists put into training and test.",
    "one class": "A classifier needs two.",
    "absent class": "Classes without a photo in a split.",
    "same class": "Classes whose names look the same: one class, probably, spelled in two ways.",
    "tiny class": "Few photos to learn a class from.",
    "conflict": "The same file under different labels: one of them is wrong.",
    "leak": "The same file in two splits: what is measured was seen in training.",
    "duplicates": "The same file more than once: it counts as often.",
    "near conflict": "Pictures that look the same, under different labels.",
    "near leak": "Pictures that look the same, in two splits.",
    "near duplicates": "Pictures that look the same: recompressed, resized, mirrored.",
    "damaged": "JPEGs with bytes lost or added: decoders read on, some pixels may be wrong.",
    "wrong suffix": "Content and name disagree. pets goes by the content; others may not.",
    "left out": "Images behind a suffix that no image has: they are not used.",
    "blank": "All pixels alike: there is nothing to see.",
    "tiny": "Far too few pixels to recognise anything.",
    "elongated": "Most of so long a picture is cut off before the network sees it.",
    "small": "Smaller than the network's input: enlarged, and so blurred.",
    "huge": "More pixels than a training needs: slow to read.",
    "metadata": "EXIF, profiles or texts that cannot be read; the pixels are good.",
    "CMYK": "For printing; colours are converted without their profile.",
    "alpha": "Transparent pixels become white.",
    "animation": "Only the first picture is used.",
    "grey": "Without colour.",
    "nested": "Photos in folders inside a class's folder: they count as the class's.",
    "unused": "Photos that no list, table or split names: they are not used.",
    "not a photo": "Other files among the photos, what is hidden, the system's or pets' own.",
}
