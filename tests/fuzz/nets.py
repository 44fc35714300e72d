"""Small whole nets on disk, and what it takes to write a safetensors file that says anything."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

SIZE = (32, 48)


def write_nets(folder: Path) -> None:
    """A checkpoint of each kind of encoder, decoder and head, and two pickles as FastDepth's authors write them."""
    import torch

    from leadline.core.spec import Encoder
    from leadline.nn import zoo
    from leadline.nn.build import build
    from leadline.nn.checkpoint import save

    folder.mkdir(parents=True, exist_ok=True)
    for name in ("fastdepth", "litedepth", "boosting_student", "boosting_teacher", "monodepth_pruned"):
        spec = zoo.spec(name)
        encoder = Encoder(spec.encoder.name, (8,) * len(spec.encoder.widths))
        widths = (8,) * len(spec.decoder.widths)
        spec = replace(
            spec,
            encoder=encoder,
            decoder=replace(spec.decoder, widths=widths),
            preprocess=replace(spec.preprocess, size=SIZE),
        )
        net = build(spec, seed=0)
        net.head.start_at(2.0)
        save(net, folder / f"{name}.safetensors", provenance={"licences": ["tests"], "data": ["rooms"]})
        if name == "fastdepth":
            for zipped in (True, False):
                state = {_theirs(k): v for k, v in net.state_dict().items()}
                path = folder / f"{'zip' if zipped else 'legacy'}.pth.tar"
                torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=zipped)


def _theirs(name: str) -> str:
    parts = name.split(".")
    if parts[0] == "head":
        return ".".join(["decode_conv6", "1" if parts[1] == "norm" else "0", *parts[2:]])
    if parts[0] == "decoder":
        i, k = int(parts[2]), int(parts[3])
        return ".".join([f"decode_conv{i + 1}", str(k // 3), str(k % 3), *parts[4:]])
    return ".".join([f"conv{parts[2]}", *parts[3:]])


def read_parts(path: Path) -> tuple[dict[str, Any], bytes]:
    """(header, tensors' bytes) of a safetensors file."""
    data = path.read_bytes()
    end = 8 + struct.unpack("<Q", data[:8])[0]
    header: dict[str, Any] = json.loads(data[8:end])
    return header, data[end:]


def joined(header: Any, body: bytes) -> bytes:
    """A safetensors file of a header, JSON or text, that need not be true."""
    text = header.encode() if isinstance(header, str) else json.dumps(header).encode("utf-8", "surrogatepass")
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body
