"""`fairlead schema`: the JSON schema of fairlead.yaml, ensemble.yaml or release.yaml."""

from __future__ import annotations

import click

from fairlead.app.ensemble_spec import json_schema as ensemble_schema
from fairlead.app.release_spec import json_schema as release_schema
from fairlead.app.spec import json_schema
from fairlead.cli.printing import emit_json


@click.command()
@click.argument("kind", type=click.Choice(["fairlead", "ensemble", "release"]), default="fairlead")
def schema(kind: str) -> None:
    """Print the JSON schema of fairlead.yaml (or, with `ensemble` or `release`, of that file), for editors.

    \b
    Example:
      fairlead schema > fairlead.schema.json
      # first line of fairlead.yaml:
      # yaml-language-server: $schema=fairlead.schema.json
    """
    emit_json({"ensemble": ensemble_schema, "release": release_schema}.get(kind, json_schema)())
