"""`pets summarize <folder>`: what the runs of a sweep say together."""

from __future__ import annotations

import logging
from pathlib import Path

from omegaconf import DictConfig

from pets.config import SummarizeConfig
from pets.validation import typed

SCHEMA = SummarizeConfig
log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> None:
    """Read the runs, write the summary into their folder, show it in short."""
    config = typed(SummarizeConfig, cfg)
    from pets.sweep.summary import on_screen, summarize, write_summary

    summary = summarize(Path(config.sweep))
    page = write_summary(summary)
    for line in on_screen(summary):
        log.info(line)
    log.info("\nsummary  %s", page)
