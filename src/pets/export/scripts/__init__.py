"""The `predict.py` of each format; `standalone_script` makes it independent of pets.

Each has a class `Classifier(folder)` with `classes`, `logits_of(pictures)` for uint8 pictures
(B, 3, h, w), `logits(photos)` for opened photos of any size, and `probabilities(logits)`. Exported
with `unsure=auto`, `unsure` is a rule, and `judge_of(pictures)` and `judge(photos)` apply it.
"""

from importlib.resources import files

_SHARED = "pets.export.scripts.shared"


def standalone_script(name: str) -> str:
    """Return the script of a format with the shared code inlined in place of its import."""
    folder = files(__package__)
    before, _, after = folder.joinpath(f"{name}.py").read_text("utf-8").partition(f"from {_SHARED}")
    shared = folder.joinpath("shared.py").read_text("utf-8").partition("\n\n")[2]
    known = {line for line in before.splitlines() if line.startswith(("import ", "from "))}
    lines = [line for line in shared.splitlines() if line not in known]
    return f"{before}{chr(10).join(lines).strip()}\n{after.partition(chr(10))[2]}"
