"""One module a sub-command: `SCHEMA`, the type of its config, and `run`, what it does."""
