"""A trained run as a page and an API."""
