"""Naming what is on any number of photos: where they lie, one pass, tables on disk."""
