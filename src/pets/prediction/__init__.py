"""Predictions for any number of photos: find them, run the network, write a table."""
