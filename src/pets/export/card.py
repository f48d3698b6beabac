"""The model card: what the export is, how well it does, how it is used, and where it ends."""

from __future__ import annotations

from pets.data.splits import TEST
from pets.export.check import Check
from pets.export.formats import FORMATS
from pets.export.hub import front_matter
from pets.export.int8 import FILE, Quantised
from pets.export.metadata import Metadata
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


def card(name: str, metadata: Metadata, check: Check, quantised: Quantised | None) -> str:
    """The README.md of an export, as Markdown."""
    sections = [
        _head(name, metadata),
        _metrics(metadata),
        _use(name, metadata, quantised),
        _checked(check, name),
        _origin(metadata),
        _limits(metadata),
    ]
    return "\n".join(line for section in sections for line in [*section, ""])


def _head(name: str, metadata: Metadata) -> list[str]:
    model = metadata.trained.model
    return [
        *(front_matter(metadata) if name == "hub" else []),
        f"# {text(model.config.name)}, trained on {text(metadata.data['name'])}",
        "",
        f"Says which of {len(model.classes)} classes a photo shows: "
        f"{', '.join(text(label) for label in model.classes)}.",
    ]


def _metrics(metadata: Metadata) -> list[str]:
    rows = [
        [
            _split_name(m.split),
            f"{m.photos:,}",
            f"{100 * m.accuracy:.1f} %",
            _percents(m.interval),
        ]
        for m in metadata.measured
    ]
    lines = [
        "## How often it is right",
        "",
        *table(["photos", "how many", "right", "95 % interval (Wilson)"], rows),
        "",
    ]
    if all(m.split != TEST for m in metadata.measured):
        lines += ["It was not measured on test photos.", ""]
    if metadata.ckpt == "best":
        lines += [
            "These weights are those of the epoch with the lowest validation error, which "
            "flatters the validation accuracy.",
            "",
        ]
    split = _split_name(metadata.measured[0].split)
    pairs = [[a, p, f"{n:,}"] for a, p, n in metadata.confused if n >= _OFTEN][:_PAIRS]
    if pairs:
        lines += [f"Most confused among the {split} photos, from {_OFTEN} photos on:", ""]
        lines += table(["actual", "taken for", "photos"], pairs)
    elif metadata.confused:
        lines += [
            f"No two of the {split} photos were mistaken in the same way: which classes are "
            "confused cannot be said from so few errors."
        ]
    else:
        lines += [f"None of the {split} photos was taken for another class."]
    return lines


def _split_name(split: str) -> str:
    return {"valid": "validation"}.get(split, split)


def _use(name: str, metadata: Metadata, quantised: Quantised | None) -> list[str]:
    timm = ", and timm" if metadata.trained.model.config.library == "timm" else ""
    lines = ["## How to use it", ""]
    lines += [f"It needs {FORMATS[name].needs}{timm if name == 'safetensors' else ''}.", ""]
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
        lines += _graph(metadata)
    if quantised is not None and quantised.kept:
        lines += [
            f'`Classifier(".", "{FILE}")` takes the model in 8-bit integers: {quantised.summary}, '
            "where it was exported.",
            "",
        ]
    wanted = metadata.preprocessing
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
    if metadata.trained.temperature is None:
        lines.append("No temperature was fitted: probabilities are the softmax of the logits.")
    else:
        inside = "; the output `probabilities` has it inside" if name == "onnx" else ""
        lines.append(
            f"Probabilities are the softmax of the logits divided by {metadata.temperature:.4g}, "
            f"the temperature that fitted the validation photos best{inside}."
        )
    return lines


def _graph(metadata: Metadata) -> list[str]:
    classes, (height, width) = len(metadata.trained.model.classes), metadata.preprocessing["size"]
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
        f"On the run's {same.photos:,} {_split_name(check.split)} photos, "
        "before this folder was made:",
        "",
        f"- given the same pictures, {same.same_class:,} of {same.photos:,} get the class that the "
        f"run gives; logits differ by up to {same.logits:.1e} (allowed {check.allowed:.1e}; the "
        f"largest is {check.largest:.1f});",
        f"- given photo files, in a process without pets, {by_file.same_class:,} of "
        f"{by_file.photos:,} do; logits differ by up to {by_file.logits:.1e}, probabilities by "
        f"{by_file.shift:.1e} (mean over the photos).",
    ]
    if rounding := FORMATS[name].rounding:
        lines += ["", f"The second differs more than the first because {rounding}."]
    return lines


def _origin(metadata: Metadata) -> list[str]:
    about, photos, licence = metadata.as_dict(), metadata.data["photos"], metadata.data["licence"]
    counts = ", ".join(f"{count:,} {split}" for split, count in photos.items() if count)
    return [
        "## Where it comes from",
        "",
        f"- Photos: {text(metadata.data['name'])}, the folder {text(metadata.data['folder'])} "
        f"({counts}), fingerprint {metadata.data['fingerprint']}; licence: "
        f"{text(licence or 'not known to the exporter')}.",
        f"- Pretrained weights: {text(metadata.origin.weights)}; licence: "
        f"{text(metadata.origin.licence)}.",
        f"- Run {text(about['run'])}, {metadata.ckpt} checkpoint, "
        f"stage {text(metadata.trained.stage)}; "
        f"trained by pets {text(about['trained_by'])}, exported by {text(about['exported_by'])}.",
        "",
        "The licence of this model is not chosen here: it depends on the pretrained weights, on "
        "the photos, and on who publishes it.",
    ]


def _limits(metadata: Metadata) -> list[str]:
    split = _split_name(metadata.measured[0].split)
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
