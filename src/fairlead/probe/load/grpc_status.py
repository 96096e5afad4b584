"""The headers of a gRPC call: the block that every request sends, and the status in the block that ends an answer. Pure.

With a dynamic table of size 0 a header is either in HPACK's fixed table, which has no grpc-status, or written out, as it is or in Huffman's
code. Only the code of the digits is needed to read a status. Sources: RFC 7541 and its appendix B.
"""

from __future__ import annotations

from functools import lru_cache

_PATH = b"/inference.GRPCInferenceService/ModelInfer"
_UNKNOWN = 2  # gRPC's code for a status that says nothing
_NAME = b"grpc-status"
_HUFFMAN_NAME = bytes.fromhex("9acac8b21234da8f")
# Huffman codes of "0".."9": 5 bits for 0, 1 and 2, 6 bits for the others.
_DIGITS = {"00000": "0", "00001": "1", "00010": "2"} | {f"{25 + digit - 3:06b}": str(digit) for digit in range(3, 10)}


def header_block(authority: str) -> bytes:
    """Return the header block of a unary call: everything written out, nothing to be remembered by the peer."""
    fields = [
        (b":path", _PATH),
        (b":authority", authority.encode("ascii", "replace")),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        (b"user-agent", b"fairlead-bench"),
    ]
    written = b"".join(b"\x00" + _text(name) + _text(value) for name, value in fields)
    return b"\x83\x86" + written  # 3 and 6 of the fixed table: method POST, scheme http


def _text(text: bytes) -> bytes:
    if len(text) < 127:
        return bytes((len(text),)) + text
    rest, more = len(text) - 127, b""
    while rest >= 128:
        more += bytes((rest % 128 + 128,))
        rest //= 128
    return b"\x7f" + more + bytes((rest,)) + text


@lru_cache(maxsize=64)
def status_of(block: bytes) -> int:
    """Return the gRPC status code in a block of trailers; 2 (UNKNOWN) where there is none that can be read."""
    for name in (_NAME, _HUFFMAN_NAME):
        place = block.find(name)
        if place >= 0:
            return _value(block[place + len(name) :])
    return _UNKNOWN


def _value(rest: bytes) -> int:
    size = rest[0] & 0x7F if rest else 0
    text = rest[1 : 1 + size]
    digits = _huffman_digits(text) if rest and rest[0] & 0x80 else text.decode("latin-1")
    return int(digits) if digits.isascii() and digits.isdigit() else _UNKNOWN


def _huffman_digits(data: bytes) -> str:
    """Return the digits; padding is ones, which begin no digit."""
    bits, found = "".join(f"{byte:08b}" for byte in data), ""
    while bits:
        code = next((bits[:size] for size in (5, 6) if bits[:size] in _DIGITS), None)
        if code is None:
            break
        found += _DIGITS[code]
        bits = bits[len(code) :]
    return found
