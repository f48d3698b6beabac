"""Many runs: prepared together, run apart, read as one table."""
