"""Writes src/fairlead/security/tflite_operators.txt: every built-in operator that a .tflite file may use, by exact name and number.

Run it where the supported LiteRT is installed, and read the difference before committing it. Custom operators are not on the list; neither
is what keeps state between calls, draws random numbers, looks things up in tables of texts, or belongs to another set of operators.
"""

from __future__ import annotations

import re
from pathlib import Path

TARGET = Path(__file__).parent.parent / "src" / "fairlead" / "security" / "tflite_operators.txt"
LEFT_OUT = re.compile(
    "STABLEHLO_.*|CUSTOM|DELEGATE|PLACEHOLDER_.*|CALL|CALL_ONCE|HASHTABLE.*|VAR_HANDLE|READ_VARIABLE|ASSIGN_VARIABLE|RANDOM_.*|MULTINOMIAL|"
    "LSH_PROJECTION|SKIP_GRAM|EMBEDDING_LOOKUP_SPARSE|HASHTABLE_LOOKUP|SVDF|CONCAT_EMBEDDINGS|DENSIFY|DILATE|REDUCE_WINDOW|LSTM|RNN"
)


def main() -> None:
    """Write the list."""
    import ai_edge_litert
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    found = {name: number for name, number in vars(BuiltinOperator).items() if name.isupper() and not LEFT_OUT.fullmatch(name)}
    lines = [f"{name} {number}" for name, number in sorted(found.items(), key=lambda item: item[1])]
    head = f"# Written by scripts/list_tflite_operators.py with LiteRT {ai_edge_litert.__version__}: name and number.\n"
    TARGET.write_text(head + "\n".join(lines) + "\n", encoding="ascii")
    print(f"{len(lines)} operators in {TARGET.name}")


if __name__ == "__main__":
    main()
