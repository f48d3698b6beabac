"""Page templates: self-contained files with escaped texts, shared styles and scripts."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pets.io.serialize import to_json


def template(package: str, name: str, **filters: Callable[..., Any]) -> Any:
    """Load the template of a package's page, with access to `head.html`.

    Undefined names raise an error.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(p, ".") for p in (package, "pets.report")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda x, digits=1: f"{100 * x:.{digits}f}\N{NO-BREAK SPACE}%"
    # A long name may break after an underscore.
    environment.filters["soft"] = lambda name: Markup("_<wbr>").join(name.split("_"))
    environment.filters["count"] = lambda n: f"{n:,}"
    environment.policies["json.dumps_function"] = to_json  # of the filter `tojson`
    environment.filters |= filters
    return environment.get_template(name)


def own(package: str, *names: str) -> Markup:
    """Return style sheets or scripts of a package, concatenated for a page."""
    texts = (files(package).joinpath(name).read_text(encoding="utf-8") for name in names)
    return Markup("\n".join(texts))
