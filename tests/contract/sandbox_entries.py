"""What the exam runs inside a sandboxed worker. Each function tries one thing that foreign code might try."""
# ruff: noqa: PTH101, PTH105, PTH115, PTH208, PTH211, S103, S606, FURB122 - it does what foreign code does, by the plain calls

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from fairlead.errors import MissingExtraError, NoSpaceError, UnsafeContentError


def echo(arguments):
    return {"got": arguments}


def write_scratch(arguments):
    folder = Path(arguments["scratch"], "inner")
    folder.mkdir()
    Path(folder, "draft").write_text("data")
    os.replace(Path(folder, "draft"), Path(arguments["scratch"], "final"))
    return {}


def connect(arguments):
    with socket.create_connection(("127.0.0.1", arguments["port"]), timeout=2):
        return {"connected": True}


def connect_unix(arguments):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(arguments["path"])
        return {"connected": True}


def read_file(arguments):
    return {"text": Path(arguments["path"]).read_text()}


def list_folder(arguments):
    return {"names": os.listdir(arguments["path"])}


def write_file(arguments):
    Path(arguments["path"]).write_text("harm")
    return {}


def change_mode(arguments):
    os.chmod(arguments["path"], 0o777)
    return {}


def run_program(arguments):
    return {"out": subprocess.run([sys.executable, "-c", "print(1)"], capture_output=True, text=True, check=True).stdout}


def replace_self(arguments):
    os.execv(sys.executable, [sys.executable, "-c", "pass"])


def load_and_execute(arguments):
    program = Path(arguments["scratch"], "program")
    program.write_bytes(Path("/proc/self/exe").read_bytes())
    os.execv(program, [str(program)])


def fork(arguments):
    if os.fork() == 0:
        time.sleep(60)
    return {}


def signal_parent(arguments):
    os.kill(arguments["pid"], signal.SIGTERM)
    return {}


def environment(arguments):
    return {"environment": dict(os.environ), "arguments": sys.argv[1:], "flags": [sys.flags.no_user_site, sys.flags.safe_path]}


def status(arguments):
    lines = Path("/proc/self/status").read_text().splitlines()
    descriptors = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            descriptors[name] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
    return {"status": dict(line.split(":\t", 1) for line in lines if ":\t" in line), "descriptors": descriptors}


def eat_memory(arguments):
    return {"size": len(bytearray(arguments["bytes"]))}


def spin(arguments):
    while True:
        pass


def sleep(arguments):
    time.sleep(60)


def fill_one_file(arguments):
    with Path(arguments["scratch"], "big").open("wb") as stream:
        for _ in range(arguments["mebibytes"]):
            stream.write(b"\0" * 2**20)
    return {}


def fill_many_files(arguments):
    for number in range(arguments["mebibytes"]):
        Path(arguments["scratch"], str(number)).write_bytes(b"\0" * 2**20)
        time.sleep(0.02)
    return {}


def crash(arguments):
    ctypes.string_at(0)


def abort(arguments):
    os.abort()


def leave(arguments):
    os._exit(arguments["code"])


def leave_politely(arguments):
    sys.exit(3)


def long_answer(arguments):
    return {"text": "x" * arguments["characters"]}


def deep_answer(arguments):
    value = []
    for _ in range(arguments["depth"]):
        value = [value]
    return {"value": value}


def not_plain(arguments):
    return {"value": object()}


def not_an_object(arguments):
    return [1, 2]


def forge_nonsense(arguments):
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{name}").startswith("pipe:"):
                os.write(int(name), b'{"result": {}, "layers": {}} and more')
        except OSError:
            continue
    os._exit(0)


def print_noise(arguments):
    print("noise")
    print("noise", file=sys.stderr)
    os.write(1, b"noise")
    return {"quiet": True}


def refuse(arguments):
    raise UnsafeContentError("It holds \x1b[31mcode" + "x" * 5000, hint="Save it again.")


def miss_extra(arguments):
    raise MissingExtraError("keras", needed_for="Layer 'Odd'")


def fill_disk(arguments):
    raise OSError(28, "No space left on device")


def own_no_space(arguments):
    raise NoSpaceError("full")


def fail(arguments):
    raise ValueError("the inner reason\n" + "y" * 5000)


def use_threads(arguments):
    done = []
    threads = [threading.Thread(target=done.append, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"done": len(done)}


def plant_link(arguments):
    os.symlink("/etc/passwd", Path(arguments["scratch"], "link"))
    return {}


def write_pid_and_sleep(arguments):
    Path(arguments["scratch"], "pid").write_text(Path("/proc/self/stat").read_text().split()[0])
    time.sleep(60)
