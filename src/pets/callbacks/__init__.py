"""Lightning callbacks: what a training shows on the screen."""
