"""Reads safetensors files without their package: a length (u64), that many bytes of JSON, then the data."""

import json
import struct
from pathlib import Path

import torch

DTYPES = {'F32': torch.float32, 'F16': torch.float16, 'I32': torch.int32}


def read(path):
    """The tensors by name, and the file's own strings."""
    data = bytearray(Path(path).read_bytes())
    (length,) = struct.unpack_from('<Q', data)
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop('__metadata__', {})
    tensors = {}
    for name, entry in header.items():
        begin, end = entry['data_offsets']
        values = torch.frombuffer(data[8 + length + begin : 8 + length + end], dtype=DTYPES[entry['dtype']])
        tensors[name] = values.reshape(entry['shape'])
    return tensors, metadata
