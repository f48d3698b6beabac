"""The report after training: what the model gets wrong, and why."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from pytorch_lightning import Callback
from pytorch_lightning.loggers import Logger

from pets.data.photos import Photos
from pets.errors import PetsError
from pets.report.write import write_report
from pets.training.evaluation import Trained

log = logging.getLogger(__name__)


class Interpret(Callback):
    """`report.html`, the predictions table and the suspected labels of a run, and its pictures in
    TensorBoard.

    `pets.training.loop` calls `after_training` when everything is trained and measured: inside a
    `fit` the network is still in its training modes.
    """

    def after_training(self, trained: Trained, photos: Photos, loggers: Sequence[Logger]) -> None:
        """Analysis the test photos, or the validation photos where there are none."""
        again = f"the run is trained all the same; try pets interpret run={trained.run.path}"
        try:
            write_report(trained, photos, trained.config.interpret, loggers=loggers)
        except PetsError as error:
            if not trained.run.writes:  # the other ranks wait for this one: they are told
                raise
            log.warning("no report: %s; %s", error, again)
        except Exception:
            if not trained.run.writes:
                raise
            log.exception("no report; %s", again)
