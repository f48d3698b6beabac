"""What libraries say that pets does not pass on."""

from __future__ import annotations

import logging
import warnings

from pets.distributed.ranks import ranks


def silence_lightning() -> None:
    """Silence Lightning's info messages, and its warnings about intentional choices."""
    for name in ("pytorch_lightning", "lightning_fabric", "timm"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if not ranks().writer:
        warnings.simplefilter("ignore")  # rank 0 shows the same warnings
    for message in (
        ".*does not have many workers.*",  # on few cores, none is fastest
        ".*checkpoint that ended before the epoch ended.*",  # the sampler knows what was drawn
        ".*number of training batches.*smaller than the logging interval.*",
        ".*exists and is not empty.*",
        ".*GPU available but not used.*",
        ".*Encountered `nan` values.*",  # the recorder stops a diverged run
        ".*module\\(s\\) in eval mode at the start of training.*",  # that is what freezing does
        ".*The `srun` command is available.*",  # `distributed.ranks` detects the launcher
        ".*`broadcast_buffers` is deprecated.*",  # older torch versions lack the new name
        ".*recommended to use `self.log.*sync_dist=True.*",  # all ranks log the same number
        ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",  # Lightning's own, with new torch
    ):
        warnings.filterwarnings("ignore", message)
