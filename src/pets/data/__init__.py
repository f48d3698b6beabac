"""From a folder of files to batches: labels, splits, transforms, loaders."""
