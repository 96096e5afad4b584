"""Print docs/reference/exit-codes.md from fairlead.cli.exit_codes."""

from __future__ import annotations

from fairlead.cli.exit_codes import MEANINGS, exit_code
from fairlead.errors import FairleadError


def subclasses(kind: type[FairleadError]) -> list[type[FairleadError]]:
    """Return all classes below `kind`, depth first."""
    return [found for child in kind.__subclasses__() for found in (child, *subclasses(child))]


def main() -> None:
    """Print the page."""
    print("# Exit codes\n\nNumbers never change their meaning. Printed by `scripts/document_exit_codes.py`.\n")
    print('With `--json`, the error goes to stderr as `{"error", "hint", "code"}`.\n')
    print("| exit code | meaning | error codes |\n|---|---|---|")
    for status, meaning in MEANINGS.items():
        codes = ", ".join(f"`{kind.code}`" for kind in subclasses(FairleadError) if exit_code(kind) == status)
        print(f"| {status} | {meaning} | {codes} |")


if __name__ == "__main__":
    main()
