"""Models that turn on their server once they are asked: what runs inside the resident process of each attack.

Most of them write to the descriptor that answers travel on, as native code of a model could. `order` says what to do; "good" answers.
"""
# ruff: noqa: PTH208, PTH115 - it does what foreign code does, by the plain calls

from __future__ import annotations

import ctypes
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

GOOD = {"y": np.arange(4.0)}


def open_model(arguments):
    asked = 0

    def answer(inputs):
        nonlocal asked
        asked += 1
        order = str(inputs["order"].flat[0])
        if order == "good":
            return GOOD
        if order in FRAMES:
            write_by_hand(FRAMES[order](asked))
            time.sleep(60)
        return ACTS[order](arguments)

    return answer


# Frames by hand


def answer_descriptors():
    """The pipes that this process may write to."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{name}").startswith("pipe:") and int(name) > 2:
                found.append(int(name))
        except OSError:
            continue
    return found


def write_by_hand(data):
    for descriptor in answer_descriptors():
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        except OSError:  # the end to read from
            continue


def frame(sequence, head, body=b"", *, kind=2, magic=b"FLR1", head_bytes=None, body_bytes=None):
    words = head if isinstance(head, bytes) else json.dumps(head).encode()
    sizes = (len(words) if head_bytes is None else head_bytes, len(body) if body_bytes is None else body_bytes)
    return struct.pack("<4sIQQQ", magic, kind, sequence, *sizes) + words + body


RIGHT = GOOD["y"].tobytes()
LISTED = [["y", "FP64", [4], 32]]
FRAMES = {
    "right frame by hand": lambda number: frame(number, LISTED, RIGHT),
    "garbage": lambda _: os.urandom(4096),
    "zeros": lambda _: bytes(4096),
    "huge body": lambda number: frame(number, LISTED, RIGHT, body_bytes=2**60),
    "huge head": lambda number: frame(number, LISTED, RIGHT, head_bytes=2**40),
    "sizes that overflow": lambda number: frame(number, LISTED, RIGHT, head_bytes=2**64 - 1, body_bytes=2**64 - 1),
    "shape that overflows": lambda number: frame(number, [["y", "FP64", [2**62, 4], 32]], RIGHT),
    "shape without end": lambda number: frame(number, [["y", "FP64", [1, 2**47, 0], 0]]),
    "negative shape": lambda number: frame(number, [["y", "FP64", [-4], 32]], RIGHT),
    "unknown type": lambda number: frame(number, [["y", "object", [4], 32]], RIGHT),
    "pickle for a type": lambda number: frame(number, [["y", "O", [4], 32]], RIGHT),
    "deep head": lambda number: frame(number, b"[" * 100_000),
    "answer to another ask": lambda number: frame(number + 1, LISTED, RIGHT),
    "two answers": lambda number: frame(number, LISTED, RIGHT) * 2,
    "text that overlaps": lambda number: frame(
        number, [["y", "BYTES", [3], 48]], struct.pack("<4q", 0, 2**63 - 1, -2, 8) + b"ABCDEFGH" + bytes(8)
    ),
    "error of no class": lambda number: frame(number, {"error": {"class": "__builtins__", "message": "x"}}, kind=3),
    "error of a class that exits": lambda number: frame(number, {"error": {"class": "SystemExit", "message": "x"}}, kind=3),
    "error that is a list": lambda number: frame(number, [1, 2], kind=3),
    "half a frame": lambda number: frame(number, LISTED, RIGHT)[:40],
    "drip": lambda number: frame(number, [["y", "FP64", [2**14], 2**17]], RIGHT, body_bytes=2**17),
}


# Acts


def segfault(_):
    ctypes.string_at(0)


def abort(_):
    os.abort()


def hang(_):
    while True:
        pass


def eat(_):
    kept = []
    while True:
        kept.append(np.ones(2**20))


def close_and_live_on(_):
    for descriptor in answer_descriptors():
        os.close(descriptor)
    time.sleep(60)


def flood(_):
    while True:
        write_by_hand(os.urandom(1 << 16))


def start_threads(_):
    while True:
        threading.Thread(target=time.sleep, args=(60,)).start()


def connect(arguments):
    with socket.create_connection(("127.0.0.1", arguments["port"]), timeout=2):
        return GOOD


def run_program(arguments):
    subprocess.run([sys.executable, "-c", f"open({arguments['canary']!r}, 'w')"], check=True)
    return GOOD


def write_outside(arguments):
    Path(arguments["canary"]).write_text("harm")
    return GOOD


def read_secret(arguments):
    return {"y": np.array([Path(arguments["secret"]).read_text()], dtype=object)}


def signal_parent(arguments):
    os.kill(arguments["parent"], 9)
    return GOOD


_ENDINGS = (segfault, abort, hang, eat, close_and_live_on, flood, start_threads)
_TRESPASSES = (connect, run_program, write_outside, read_secret, signal_parent)
ACTS = {act.__name__: act for act in (*_ENDINGS, *_TRESPASSES)}
