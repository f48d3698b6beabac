"""The `predict.py` of each format: a file on its own, copied into the export as it is.

Each has a class `Classifier(folder)` with `classes`, `logits_of(pictures)` for uint8 pictures
(B, 3, h, w), `logits(photos)` for opened photos of any size, and `probabilities(logits)`. They
repeat each other where they must, nothing of pets being there when they run: what follows the line
"From here on" is the same in all, and `rgb` does as `pets.data.images.open_rgb`.
"""
