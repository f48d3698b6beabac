"""A trained run for programs that know nothing of pets: written, described and checked."""
