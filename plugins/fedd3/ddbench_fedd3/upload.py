"""Encode what a client uploads, and decode it on the server."""

from __future__ import annotations

from collections.abc import Callable

import torch
from safetensors.torch import load, save

# images (m, ch, H, W) in the client's units, its mean and std (ch, 1, 1)
# -> images to send, offset and scale (ch, 1, 1) that lead from them to the server's units
Encoding = Callable[
    [torch.Tensor, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor, torch.Tensor]
]


def as_float32(
    images: torch.Tensor, mean: torch.Tensor, std: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Send the pixels as they are; offset and scale are the client's mean and std."""
    return images.float(), mean, std


def as_uint8(
    images: torch.Tensor, mean: torch.Tensor, std: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Send 256 levels between the smallest and the largest pixel of each channel."""
    low, high = images.amin((0, 2, 3)), images.amax((0, 2, 3))
    low, step = low[:, None, None], ((high - low) / 255)[:, None, None]
    levels = ((images - low) / torch.where(step > 0, step, 1.0)).round()
    return levels.to(torch.uint8), mean + std * low, std * step


ENCODINGS: dict[str, Encoding] = {"float32": as_float32, "uint8": as_uint8}


def pack(
    encoding: Encoding,
    images: torch.Tensor,
    labels: torch.Tensor,
    mean: torch.Tensor,
    std: torch.Tensor,
) -> bytes:
    """Return what a client uploads: images, labels (m,), and offset and scale of the images."""
    pixels, offset, scale = encoding(images, mean, std)
    kind = torch.uint8 if int(labels.max()) < 256 else torch.int32
    tensors = {
        "images": pixels,
        "labels": labels.to(kind),
        "offset": offset.float(),
        "scale": scale.float(),
    }
    return save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})


def unpack(payload: bytes) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a client's images (m, ch, H, W) float32, in the server's units, and labels (m,).

    The reference trains on the images as each client standardised them, but tests on images in
    the server's units; here both are in the server's.
    """
    tensors = load(payload)
    images = tensors["images"].float() * tensors["scale"] + tensors["offset"]
    return images, tensors["labels"].long()
