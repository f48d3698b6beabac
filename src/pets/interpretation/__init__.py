"""Understand a model: every photo predicted once, and every report read from that."""

from pets.interpretation.interpretation import Interpretation

__all__ = ["Interpretation"]
