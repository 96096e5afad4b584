"""Ask a running server about ten digits, the way any program would, and compare with the right answers.

python examples/digits/ask.py http://127.0.0.1:8080 digits.npz
"""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np

COUNT = 10
SHADES = " .:-=+*#%@"


def wait_until_ready(server: str, timeout_s: float = 30.0) -> None:
    """Return when the server is ready; exit with a message where it is not within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{server}/v2/health/ready", timeout=1) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    sys.exit(f"error: no server answers at {server}; start it with: fairlead serve digits")


def ask(server: str, image: np.ndarray) -> tuple[int, float]:
    """Return the digit that the server sees in `image` (28, 28, 1), and its probability."""
    body = json.dumps({"input": image[np.newaxis].tolist()}).encode()
    request = urllib.request.Request(f"{server}/predict", data=body, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        scores = json.load(answer)["prediction"][0]
    return int(np.argmax(scores)), max(scores)


def draw(image: np.ndarray) -> str:
    """Return the image as text, every second line of it."""
    return "\n".join("    " + "".join(SHADES[min(int(value * 10), 9)] for value in row) for row in image[4:24:2, :, 0])


def main() -> None:
    """Ask, compare, print."""
    server, path = sys.argv[1], Path(sys.argv[2])
    with np.load(path) as file:
        images, labels = file["x"][:COUNT], file["y"][:COUNT]
    path.with_name("one.json").write_text(json.dumps({"input": images[:1].tolist()}))
    wait_until_ready(server)
    right = 0
    for position, (image, label) in enumerate(zip(images, labels, strict=True)):
        started = time.perf_counter()
        digit, probability = ask(server, image)
        milliseconds = (time.perf_counter() - started) * 1000
        if position == 0:
            print(draw(image))
        right += digit == label
        print(f"  POST /predict -> {digit} ({probability:.0%} sure; it is a {label})  {milliseconds:.1f} ms")
    print(f"  {right} of {COUNT} right")


if __name__ == "__main__":
    main()
