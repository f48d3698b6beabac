"""Results that are expensive to make, kept on disk between runs."""
