"""Interpretation of a model: predict every photo once; every report is based on that."""

from pets.interpretation.interpretation import Interpretation

__all__ = ["Interpretation"]
