"""Expensive results, cached on disk between runs."""
