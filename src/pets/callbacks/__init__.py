"""Lightning callbacks: what a run writes down, and what it shows."""
