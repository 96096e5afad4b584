"""`fairlead schema`: the JSON schema of fairlead.yaml, or of ensemble.yaml."""

from __future__ import annotations

import click

from fairlead.app.ensemble_spec import json_schema as ensemble_schema
from fairlead.app.spec import json_schema
from fairlead.cli.printing import emit_json


@click.command()
@click.argument("kind", type=click.Choice(["fairlead", "ensemble"]), default="fairlead")
def schema(kind: str) -> None:
    """Print the JSON schema of fairlead.yaml (or, with `ensemble`, of ensemble.yaml), for editors.

    \b
    Example:
      fairlead schema > fairlead.schema.json
      # first line of fairlead.yaml:
      # yaml-language-server: $schema=fairlead.schema.json
    """
    emit_json(ensemble_schema() if kind == "ensemble" else json_schema())
