"""The messages: their numbers against the contract, the .proto for people, and protobuf's own decoder."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from google.protobuf import descriptor_pool

from fairlead.serve.grpc.schema import ENUMS, HEALTH_MESSAGES, INFERENCE, MESSAGES, parse_field, table_lines

ROOT = Path(__file__).parents[4]
PROTO = ROOT / "docs" / "reference" / "open_inference.proto"
CONTRACT = ROOT.parent / "shared" / "contracts" / "inference-protocol.md"
NOT_OFFERED = ("SharedMemory", "TraceSetting", "LogSettings")


def of_table() -> dict[str, set[tuple[str, str, int]]]:
    """Message -> (field, type as .proto writes it, number)."""
    found = {}
    for name, fields in table_lines(INFERENCE):
        rows = set()
        for _, field, many, is_map, kind, number in map(parse_field, fields):
            rows.add((field, f"map<string,{kind}>" if is_map else f"repeated {kind}" if many else kind, number))
        found[name] = rows
    return found


def of_proto(text: str) -> dict[str, set[tuple[str, str, int]]]:
    found: dict[str, set[tuple[str, str, int]]] = {}
    path: list[str] = []
    for raw in text.splitlines():
        line = raw.partition("//")[0].strip()
        if line.startswith(("message", "enum", "oneof", "service")):
            kind, name = line.split()[:2]
            path.append(name if kind == "message" else f"({kind})")
            if kind == "message":
                found[".".join(path)] = set()
        elif match := re.fullmatch(r"((?:repeated )?[\w.]+|map<string, \w+>) (\w+) = (\d+);", line):
            owner = ".".join(part for part in path if not part.startswith("("))
            found[owner].add((match[2], match[1].replace(", ", ","), int(match[3])))
        if line.endswith("}"):
            path.pop()
    return found


def test_the_proto_for_people_says_the_same():
    assert of_proto(PROTO.read_text()) == of_table()


def test_the_proto_for_people_has_the_same_enumerations():
    text = PROTO.read_text()
    for name, members in ENUMS["inference"].items():
        body = re.search(rf"enum {name.rpartition('.')[2]} {{(.*?)}}", text, re.DOTALL)[1]
        assert re.findall(r"(\w+) = (\d+);", body) == [(member, str(number)) for number, member in enumerate(members.split())]


@pytest.mark.skipif(not CONTRACT.exists(), reason="the field table of the protocol is not beside this checkout")
def test_every_message_of_the_contract_has_its_numbers():
    """Written as the contract writes them: `Name { type field=number; oneof:type field=number }`."""
    ours, checked = of_table(), 0
    for name, body in re.findall(r"^([A-Z]\w+(?:\.\w+)?) \{ (.*) \}$", CONTRACT.read_text(), re.MULTILINE):
        if any(part in name for part in NOT_OFFERED):
            continue
        wanted = set()
        for field in body.replace("oneof:", "").split(";"):
            if match := re.fullmatch(r"(map<\w+,\w+>|repeated \w+|\w+)\s*(\w+)=(\d+)", field.strip()):
                wanted.add((match[2], match[1], int(match[3])))
        assert ours[name] == wanted, name
        checked += 1
    assert checked > 35


def test_nothing_is_registered_where_other_clients_register():
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("inference.ModelInferRequest")


def test_a_message_goes_to_bytes_and_back():
    message = MESSAGES["ModelInferRequest"](model_name="m", raw_input_contents=[b"a", b""])
    message.parameters["p"].double_param = 0.5
    message.inputs.add(name="x", datatype="FP32", shape=[1, -1]).contents.fp32_contents.extend([1.0, 2.0])
    assert MESSAGES["ModelInferRequest"].FromString(message.SerializeToString()) == message
    assert HEALTH_MESSAGES["HealthCheckResponse"](status="SERVING").SerializeToString() == b"\x08\x01"


def test_a_line_that_is_no_field_is_refused():
    with pytest.raises(ValueError, match="name=string"):
        parse_field("name=string")
