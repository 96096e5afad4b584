"""Mutations of PyTorch files: 2,000 changed sizes, types, offsets and strides of a state_dict (F03), and 300 changed programs.

Each is refused with an error of ours, or read within the bounds of its storages. There is no positive control: memory corruption under
`weights_only` (CVE-2026-24747) is fixed in every torch that Fairlead accepts, and nothing here is ever handed to torch's own unpickler.
"""

from __future__ import annotations

import json
import pickletools
import random

import pytest

pytest.importorskip("torch", reason="torch is not installed")
from torch_corpus import pack, program, state

from fairlead.errors import FairleadError
from fairlead.security.torch_check import check_program
from fairlead.security.torch_state import read_state

TYPES = (b"FloatStorage", b"DoubleStorage", b"LongStorage", b"ByteStorage", b"BoolStorage", b"HalfStorage")
NUMBERS = (0, 1, 2, 3, 4, 5, 7, 8, 255, -1, 2**31 - 1, 2**63 - 1, -(2**63), 2**40)


def integer(value):
    if 0 <= value < 256:
        return b"K" + bytes([value])
    return b"\x8a" + bytes([size := (value.bit_length() // 8 + 1)]) + value.to_bytes(size, "little", signed=True)


def mutated(data, generator):
    """Change one number, or the type of the storages."""
    places = [(position, opcode.name) for opcode, _, position in pickletools.genops(data) if opcode.name == "BININT1"]
    if generator.random() < 0.2:
        return data.replace(b"FloatStorage", generator.choice(TYPES))
    position, _ = generator.choice(places)
    return data[:position] + integer(generator.choice(NUMBERS)) + data[position + 2 :]


@pytest.mark.slow
def test_no_mutated_size_type_offset_or_stride_leads_outside_of_a_storage(tmp_path):
    generator, members = random.Random(3), state()
    refused = 0
    for _ in range(2000):
        path = pack({**members, "data.pkl": mutated(members["data.pkl"], generator)}, tmp_path / "model.pth")
        try:
            found = read_state(path, "torch-state")
        except FairleadError:
            refused += 1
            continue
        for tensor in found.tensors.values():
            item = {"float32": 4, "float64": 8, "int64": 8, "uint8": 1, "bool": 1, "float16": 2}[tensor.dtype]
            last = tensor.offset + sum((size - 1) * stride for size, stride in zip(tensor.sizes, tensor.strides, strict=True))
            assert 0 in tensor.sizes or 0 <= last < len(tensor.data) // item
    assert 1000 < refused < 2000, "most mutations have to matter, and some have to be harmless"


@pytest.mark.slow
def test_no_mutated_program_raises_anything_but_our_own_errors(tmp_path):
    generator, members = random.Random(4), program()
    name = "models/model.json"
    text = members[name].decode()
    for number in range(300):
        place = generator.randrange(len(text))
        changed = text[:place] + generator.choice('0129-"{}[],:xe') + text[place + generator.randrange(3) :]
        path = pack({**members, name: changed.encode()}, tmp_path / "model.pt2")
        target = tmp_path / f"checked{number}"
        try:
            check_program(path, target)
        except FairleadError:
            target.unlink(missing_ok=True)
            continue
        target.unlink()


def test_a_size_in_the_list_of_weights_that_is_not_the_file_s_is_refused(tmp_path):
    name = "data/weights/model_weights_config.json"
    for field, value in (("sizes", [{"as_int": 3}, {"as_int": 2}]), ("strides", [{"as_int": 2**40}, {"as_int": 1}]), ("dtype", 8)):
        config = json.loads(program()[name])
        next(iter(config["config"].values()))["tensor_meta"][field] = value
        path = pack({**program(), name: json.dumps(config).encode()}, tmp_path / "model.pt2")
        with pytest.raises(FairleadError):
            check_program(path, tmp_path / "checked")
