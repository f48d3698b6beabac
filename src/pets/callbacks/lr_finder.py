"""The lr finder before every stage of a training run, for looking: no rate is changed."""

from __future__ import annotations

import logging

from pytorch_lightning import Callback

from pets.errors import DataError
from pets.lr_finder.search import LrSearch

log = logging.getLogger(__name__)


class LRFinder(Callback):
    """Picture, numbers and suggestions of every stage into the run's `lr_finder/` folder.

    `pets.training.loop` calls `before_stage` between the stages, outside any `fit`: a finder inside
    one would have to take apart and restore what that has set up.
    """

    def before_stage(self, search: LrSearch) -> None:
        """Search; where that cannot be done, say why and let the stage begin."""
        try:
            search.run()
        except DataError as error:
            log.warning("%s", error)
