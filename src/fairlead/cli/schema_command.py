"""`fairlead schema`: the JSON schema of fairlead.yaml."""

from __future__ import annotations

import click

from fairlead.app.spec import json_schema
from fairlead.cli.printing import emit_json


@click.command()
def schema() -> None:
    """Print the JSON schema of fairlead.yaml, for editors.

    \b
    Example:
      fairlead schema > fairlead.schema.json
      # first line of fairlead.yaml:
      # yaml-language-server: $schema=fairlead.schema.json
    """
    emit_json(json_schema())
