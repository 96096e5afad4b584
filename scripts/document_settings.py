"""Print docs/reference/settings.md from fairlead.settings."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from fairlead.settings import FROM_FILE, PREFIX, Settings

HEAD = """# Settings

Each is an environment variable. What the command line also takes as a flag (`--home`, `--host`, `--port`) wins over it.
Printed by `scripts/document_settings.py`.

| variable | default | meaning |
|---|---|---|"""


def main() -> None:
    """Print the page."""
    print(HEAD)
    for item in fields(Settings):
        default = item.default if not isinstance(item.default, Path) else str(item.default)
        print(f"| `{PREFIX}{item.name.upper()}` | `{default}` | {item.metadata['sentence']} |")
    secret = ", ".join(f"`{PREFIX}{item.name.upper()}{FROM_FILE}`" for item in fields(Settings) if item.metadata["is_secret"])
    print(f"\nA secret may stand in a file, so that no list of processes and no `docker inspect` shows it; name the file by {secret}.")
    print("The keys of an S3 store are found as `boto3` finds them, `~/.aws/credentials` among it.")
    print("`fairlead serve`, `fairlead collect` and `fairlead alerts run` write no core file.")
    print("\n`FAIRLEAD_DEBUG=1` shows the trace of a defect.")


if __name__ == "__main__":
    main()
