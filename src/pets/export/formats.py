"""Export formats; new ones are added to `FORMATS`.

A format consists of a module `<name>.py` here with `write(folder, metadata)` and `check(model)`,
which raises ExportError for networks that it cannot express; and of a script `scripts/<name>.py`
whose class `Classifier` runs the exported network without pets.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from pets.errors import ExportError
from pets.registry import Registry
from pets.system.installation import install


@dataclass(frozen=True)
class Format:
    """A format, chosen by `to=`; its module is imported on first use.

    Attributes:
        name: The value of `to`, the folder of the export, and the name of module and script.
        doc: One-line description.
        needs: Packages needed to run the export, for the model card.
        packages: Optional packages needed to write it.
        rounding: Why its logits differ more on photo files than on the same pictures.
    """

    name: str
    doc: str
    needs: str
    packages: tuple[str, ...] = ()
    rounding: str = ""

    @property
    def module(self) -> Any:
        """The module with `check(model)` and `write(folder, metadata)`."""
        return import_module(f"pets.export.{self.name}")

    def need_packages(self) -> None:
        """Raise ExportError if a package needed to write this format is not installed."""
        missing = [name for name in self.packages if find_spec(name) is None]
        if missing:
            raise ExportError(
                f"to={self.name}: {', '.join(missing)} is not installed; {install('export')}"
            )


FORMATS: Registry[Format] = Registry()
for one in (
    Format(
        "safetensors",
        "weights and a JSON description, for torch with torchvision or timm",
        needs="torch, torchvision, safetensors and pillow",
    ),
    Format(
        "onnx",
        "one file for onnxruntime, with batches of any size",
        needs="onnxruntime, numpy and pillow",
        packages=("onnx", "onnxscript", "onnxruntime"),
        rounding="pillow rounds otherwise than torch when it resizes",
    ),
    Format(
        "hub",
        "a folder in the layout of the Hugging Face hub, for timm",
        needs="timm (1.0.16 or newer) and pillow",
        rounding="timm's transform resizes with pillow and rounds sizes down",
    ),
):
    FORMATS.add(one)
