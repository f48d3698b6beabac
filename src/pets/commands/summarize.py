"""`pets summarize`: compare the runs of a sweep on one page."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from pets.config import SummarizeConfig
from pets.config.validation import typed

SCHEMA = SummarizeConfig


def run(cfg: DictConfig) -> None:
    """Read the runs, write the summary to their folder, and log a short version."""
    config = typed(SummarizeConfig, cfg)
    from pets.summary import show_summary

    show_summary(Path(config.sweep))
