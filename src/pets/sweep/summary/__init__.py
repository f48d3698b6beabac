"""What a sweep says: its runs as tables, pictures and sentences, from their directories alone."""

from pets.sweep.summary.summary import Summary, summarize
from pets.sweep.summary.tables import on_screen
from pets.sweep.summary.write import write_summary

__all__ = ["Summary", "on_screen", "summarize", "write_summary"]
