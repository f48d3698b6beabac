"""Linear probes: heads on features of frozen backbones tell which suits, and if photos are few."""
