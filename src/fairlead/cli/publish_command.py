"""`fairlead publish`: a version, with its evidence, in an MLflow tracking server."""

from __future__ import annotations

import click

from fairlead.app.publish import PublishRequest
from fairlead.app.publish import publish as publish_version
from fairlead.app.wiring import build_house
from fairlead.cli.printing import emit_json, home_option, json_option


@click.command()
@click.argument("version")
@click.option("--tracking-uri", default="", metavar="URI", help="The tracking server.  [default: MLFLOW_TRACKING_URI]")
@click.option("--as", "name", default="", help="Name of the registered model there; the same unless given.")
@click.option("--alias", default="", help="Alias to point at it there, e.g. champion.")
@home_option
@json_option
def publish(*, version: str, tracking_uri: str, name: str, alias: str, home: str | None, as_json: bool) -> None:
    """Publish VERSION to an MLflow tracking server: folder, evidence, tags and alias. Doing it twice adds nothing.

    \b
    Example:
      fairlead publish digits:3 --tracking-uri http://127.0.0.1:5000 --alias champion
    """
    published = publish_version(version, PublishRequest(tracking_uri, name, alias), build_house(home))
    if as_json:
        emit_json(published)
        return
    said = "published" if published.is_new else "was there already"
    click.echo(f"{published.uri} {said}  sha256:{published.digest[:16]}" + (f"  @{alias}" if alias else ""))
