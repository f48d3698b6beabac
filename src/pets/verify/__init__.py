"""What is wrong with photos, before a training finds out. torch is not imported."""
