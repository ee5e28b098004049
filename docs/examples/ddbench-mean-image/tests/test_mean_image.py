"""mean-image keeps its word, and does what it says."""

import ddbench_mean_image
import torch
from ddbench.testing import check_method, condense, toy_task


def test_it_is_installed_and_keeps_its_word() -> None:
    """The checks of ddbench, in their quick form."""
    check_method("mean-image")


def test_the_images_end_nearer_to_the_mean_of_their_class() -> None:
    """The idea of the method, on a task of seconds."""
    task = toy_task(classes=3, ipc=2)
    means = torch.stack([task.images[task.class_indices(c)].mean(0) for c in range(3)])
    distances = []
    for steps in (0, 10):
        config = ddbench_mean_image.Config(lr_images=0.1)
        result = condense(ddbench_mean_image, toy_task(classes=3, ipc=2), config, steps)
        distances.append((result.images - means[result.labels]).square().sum().item())
    assert distances[1] < 0.5 * distances[0]
