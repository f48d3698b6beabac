"""A photo as training on files gives it to the network, in one go: what faster ways are held to."""

from torchvision.transforms import v2

from pets.config import AugmentConfig
from pets.data.transforms import Preprocess, normalize, train_pixels


def train_transform(
    augment: AugmentConfig, size: tuple[int, int], preprocess: Preprocess
) -> v2.Transform:
    """Augmentation by a loader, then normalisation on the training device."""
    return v2.Compose([train_pixels(augment, size, preprocess), normalize(preprocess)])
