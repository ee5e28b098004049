import torch
from ddbench_fedd3 import upload


def client(labels=(0, 1, 1, 2)):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, 3, 5, 5, generator=generator, dtype=torch.float64)
    mean = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)[:, None, None]
    std = torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64)[:, None, None]
    return images, torch.tensor(labels), mean, std


def test_the_server_gets_images_in_its_own_units():
    images, labels, mean, std = client()
    payload = upload.pack(upload.as_float32, images, labels, mean, std)
    received, received_labels = upload.unpack(payload)
    torch.testing.assert_close(received, (images * std + mean).float(), rtol=1e-6, atol=1e-6)
    assert torch.equal(received_labels, labels)


def test_uint8_is_off_by_half_a_level_at_most():
    images, labels, mean, std = client()
    received, _ = upload.unpack(upload.pack(upload.as_uint8, images, labels, mean, std))
    sent = images * std + mean
    level = (sent.amax((0, 2, 3)) - sent.amin((0, 2, 3)))[:, None, None] / 255
    assert ((received - sent).abs() <= level / 2 + 1e-6).all()
    assert ((received - sent).abs() > level / 4).any()  # it is quantised indeed


def test_uint8_sends_a_constant_channel_exactly():
    images, labels, mean, std = client()
    images[:, 1] = 0.7
    received, _ = upload.unpack(upload.pack(upload.as_uint8, images, labels, mean, std))
    torch.testing.assert_close(received[:, 1], torch.full((4, 5, 5), 0.4), rtol=0, atol=1e-6)


def test_a_payload_is_its_pixels_labels_and_statistics():
    images, labels, mean, std = client()
    sizes = {}
    for name, encoding in upload.ENCODINGS.items():
        payload = upload.pack(encoding, images, labels, mean, std)
        header = 8 + int.from_bytes(payload[:8], "little")
        sizes[name] = len(payload) - header
    assert sizes == {"float32": 4 * 300 + 4 + 24, "uint8": 300 + 4 + 24}


def test_many_classes_still_fit_the_labels():
    images, labels, mean, std = client(labels=(0, 255, 256, 999))
    payload = upload.pack(upload.as_float32, images, labels, mean, std)
    assert upload.unpack(payload)[1].tolist() == [0, 255, 256, 999]
