"""The model card: what the export is, how well it does, how it is used, and where it ends."""

from __future__ import annotations

from pets.config import ExportFormat
from pets.data.splits import TEST
from pets.export.check import Check
from pets.export.facts import Facts
from pets.export.front_matter import front_matter
from pets.export.int8 import FILE, Quantised
from pets.io.markdown import table, text

_PAIRS = 10  # confused ones that are shown
_OFTEN = 2  # photos of a pair: one alone may be chance

_BY_SCRIPT = """\
from PIL import Image

from predict import Classifier  # predict.py, in this folder

classifier = Classifier(".")
logits = classifier.logits([Image.open("photo.jpg")])
best = int(logits[0].argmax())
print(classifier.classes[best], float(classifier.probabilities(logits)[0, best]))"""

_BY_TIMM = """\
import timm
import torch
from PIL import Image

model = timm.create_model("local-dir:.", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
with torch.inference_mode():
    logits = model(transform(Image.open("photo.jpg").convert("RGB"))[None])
best = int(logits[0].argmax())
print(model.pretrained_cfg["label_names"][best])"""

_NEEDS = {
    "safetensors": "torch, torchvision, safetensors and pillow",
    "onnx": "onnxruntime, numpy and pillow",
    "hub": "timm (1.0.16 or newer) and pillow",
}


def card(name: ExportFormat, facts: Facts, check: Check, small: Quantised | None) -> str:
    """The README.md of an export, as Markdown."""
    sections = [
        _head(name, facts),
        _metrics(facts),
        _use(name, facts, small),
        _checked(check, name),
        _origin(facts),
        _limits(facts),
    ]
    return "\n".join(line for section in sections for line in [*section, ""])


def _head(name: ExportFormat, facts: Facts) -> list[str]:
    model = facts.trained.model
    return [
        *(front_matter(facts) if name == "hub" else []),
        f"# {text(model.config.name)}, trained on {text(facts.data['name'])}",
        "",
        f"Says which of {len(model.classes)} classes a photo shows: "
        f"{', '.join(text(label) for label in model.classes)}.",
    ]


def _metrics(facts: Facts) -> list[str]:
    rows = [
        [_words(m.split), f"{m.photos:,}", f"{100 * m.accuracy:.1f} %", _percents(m.interval)]
        for m in facts.measured
    ]
    lines = [
        "## How often it is right",
        "",
        *table(["photos", "how many", "right", "95 % interval (Wilson)"], rows),
        "",
    ]
    if all(m.split != TEST for m in facts.measured):
        lines += ["It was not measured on test photos.", ""]
    if facts.ckpt == "best":
        lines += [
            "These weights are those of the epoch with the lowest validation error, which "
            "flatters the validation accuracy.",
            "",
        ]
    split = _words(facts.measured[0].split)
    pairs = [[a, p, f"{n:,}"] for a, p, n in facts.confused if n >= _OFTEN][:_PAIRS]
    if pairs:
        lines += [f"Most confused among the {split} photos, from {_OFTEN} photos on:", ""]
        lines += table(["actual", "taken for", "photos"], pairs)
    elif facts.confused:
        lines += [
            f"No two of the {split} photos were mistaken in the same way: which classes are "
            "confused cannot be said from so few errors."
        ]
    else:
        lines += [f"None of the {split} photos was taken for another class."]
    return lines


def _words(split: str) -> str:
    return {"valid": "validation"}.get(split, split)


def _use(name: ExportFormat, facts: Facts, small: Quantised | None) -> list[str]:
    timm = ", and timm" if facts.trained.model.config.library == "timm" else ""
    lines = ["## How to use it", ""]
    lines += [f"It needs {_NEEDS[name]}{timm if name == 'safetensors' else ''}.", ""]
    lines += ["```", "python predict.py photo.jpg", "```", "", "```python", _BY_SCRIPT, "```", ""]
    if name == "hub":
        lines += [
            "Or with timm alone, for upright photos in RGB:",
            "",
            "```python",
            _BY_TIMM,
            "```",
            "",
        ]
    if name == "onnx":
        lines += _graph(facts)
    if small is not None and small.kept:
        lines += [
            f'`Classifier(".", "{FILE}")` takes the model in 8-bit integers: {small.words}, '
            "where it was exported.",
            "",
        ]
    wanted = facts.preprocessing
    (height, width), (least, least_width) = wanted["size"], wanted["covers"]
    normalised = (
        "Pixels are given as 0 to 255: the model divides and normalises them itself "
        if name == "onnx"
        else "Pixels are divided by 255, then normalised "
    )
    lines += [
        f"Photos are turned upright, made RGB, resized ({wanted['interpolation']}, antialiased, "
        f"keeping their proportions) so that they just cover {least} x {least_width} pixels "
        f"(height x width), and the middle {height} x {width} is cut out. {normalised}"
        f"(mean {_values(wanted['mean'])}, deviation {_values(wanted['std'])}).",
        "",
    ]
    if facts.trained.temperature is None:
        lines.append("No temperature was fitted: probabilities are the softmax of the logits.")
    else:
        inside = "; the output `probabilities` has it inside" if name == "onnx" else ""
        lines.append(
            f"Probabilities are the softmax of the logits divided by {facts.temperature:.4g}, the "
            f"temperature that fitted the validation photos best{inside}."
        )
    return lines


def _graph(facts: Facts) -> list[str]:
    classes, (height, width) = len(facts.trained.model.classes), facts.preprocessing["size"]
    return [
        *table(
            ["", "name", "type", "shape"],
            [
                ["input", "pictures", "uint8", f"batch, 3, {height}, {width}"],
                ["output", "logits", "float32", f"batch, {classes}"],
                ["output", "probabilities", "float32", f"batch, {classes}"],
            ],
        ),
        "",
        "A batch may have any size. The file's metadata has `classes`, `preprocessing`, "
        "`temperature` and `about`, each as JSON.",
        "",
    ]


def _checked(check: Check, name: str) -> list[str]:
    same, by_file = check.pictures, check.files
    lines = [
        "## Checked",
        "",
        f"On the run's {same.photos:,} {_words(check.split)} photos, before this folder was made:",
        "",
        f"- given the same pictures, {same.same_class:,} of {same.photos:,} get the class that the "
        f"run gives; logits differ by up to {same.logits:.1e} (allowed {check.allowed:.1e}; the "
        f"largest is {check.largest:.1f});",
        f"- given photo files, in a process without pets, {by_file.same_class:,} of "
        f"{by_file.photos:,} do; logits differ by up to {by_file.logits:.1e}, probabilities by "
        f"{by_file.shift:.1e} (mean over the photos).",
    ]
    rule = {
        "onnx": "pillow rounds otherwise than torch when it resizes",
        "hub": "timm's transform resizes with pillow and rounds sizes down",
    }.get(name)
    if rule:
        lines += ["", f"The second differs more than the first because {rule}."]
    return lines


def _origin(facts: Facts) -> list[str]:
    about, photos, licence = facts.as_dict(), facts.data["photos"], facts.data["licence"]
    counts = ", ".join(f"{count:,} {split}" for split, count in photos.items() if count)
    return [
        "## Where it comes from",
        "",
        f"- Photos: {text(facts.data['name'])}, the folder {text(facts.data['folder'])} "
        f"({counts}), fingerprint {facts.data['fingerprint']}; licence: "
        f"{text(licence or 'not known to the exporter')}.",
        f"- Pretrained weights: {text(facts.origin.weights)}; licence: "
        f"{text(facts.origin.licence)}.",
        f"- Run {text(about['run'])}, {facts.ckpt} checkpoint, stage {text(facts.trained.stage)}; "
        f"trained by pets {text(about['trained_by'])}, exported by {text(about['exported_by'])}.",
        "",
        "The licence of this model is not chosen here: it depends on the pretrained weights, on "
        "the photos, and on who publishes it.",
    ]


def _limits(facts: Facts) -> list[str]:
    split = _words(facts.measured[0].split)
    return [
        "## Limits",
        "",
        "- It knows these classes alone: a photo of anything else gets one of them all the same.",
        f"- Its figures are of {split} photos from the collection that it was trained on; from "
        "elsewhere, expect it to be right less often.",
        "- A class with few training photos is known less well than the figure for all says.",
    ]


def _percents(interval: tuple[float, float]) -> str:
    return f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f} %"


def _values(values: list[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
