"""Lightning callbacks: the console output of a training run."""
