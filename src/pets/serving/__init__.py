"""`pets serve`: a trained run behind a web page and an API."""
