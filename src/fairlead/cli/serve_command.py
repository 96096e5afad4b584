"""`fairlead serve`: answer over HTTP and gRPC until stopped."""

from __future__ import annotations

from pathlib import Path

import click

from fairlead.app.requests import find_spec
from fairlead.app.serving import ServeRequest
from fairlead.app.serving import serve as run_server
from fairlead.app.wiring import House, build_house
from fairlead.cli.printing import ByteSize, home_option
from fairlead.core.release_text import parse_share
from fairlead.core.version import PRODUCTION
from fairlead.security.own_process import leave_no_core


@click.command()
@click.argument("names", nargs=-1)
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="TCP port; 0 lets the system choose.  [default: 8080]")
@click.option("--grpc-port", help="TCP port for gRPC; 0 lets the system choose, none: no gRPC.  [default: one above --port]")
@click.option("--default", help="Model that answers /predict where several are served.")
@click.option("--alias", default=PRODUCTION, show_default=True, help="The alias to follow.")
@click.option("--unsafe-expose", "is_exposed", is_flag=True, help="Allow a --host that other machines reach; nobody is asked for a key.")
@click.option("--workers", "worker_count", type=click.IntRange(0, 256), help="Processes per version; 0: the server's own.  [default: 0]")
@click.option("--cache", "cache_bytes", type=ByteSize(), help="Keep answers in that much memory, e.g. 64MB.  [default: none are kept]")
@click.option("--versions", metavar="POLICY", help="Which versions of a model: alias, latest:N or all.  [default: alias]")
@click.option("--memory", "memory_bytes", type=ByteSize(), help="Memory for all loaded versions, e.g. 2GB.  [default: no limit]")
@click.option("--allow-model-control", is_flag=True, default=None, help="Let clients load and unload models.")
@click.option("--observe/--no-observe", "is_observed", default=None, help="Keep requests in the observation log.  [default: observe]")
@click.option("--observe-share", metavar="SHARE", help="Which share of the requests is kept, e.g. 10%.  [default: 100%]")
@click.option("-f", "--spec", type=click.Path(path_type=Path), help="A fairlead.yaml whose `serve` says the same.")
@home_option
def serve(
    names: tuple[str, ...],
    *,
    host: str | None,
    port: int | None,
    grpc_port: str | None,
    default: str | None,
    alias: str,
    is_exposed: bool,
    cache_bytes: int | None,
    worker_count: int | None,
    versions: str | None,
    memory_bytes: int | None,
    allow_model_control: bool | None,
    is_observed: bool | None,
    observe_share: str | None,
    spec: Path | None,
    home: str | None,
) -> None:
    """Serve NAMES, or everything that has @production, over HTTP and gRPC. Follows the registry; stops cleanly on Ctrl-C or SIGTERM.

    A name may say which version: digits:3, digits@staging; of several, the first answers by default.

    \b
    Examples:
      fairlead serve digits
      fairlead serve --port 9000 --default digits
      fairlead serve digits:5 digits:3 churn@staging
      fairlead serve --versions latest:2 --memory 2GB
      curl -s localhost:8080/predict -d '{"input": [[5.1, 3.5, 1.4, 0.2]]}'
      curl -s localhost:8080/openapi.json
    """
    said = find_spec(spec, is_needed=False)[0].serve
    request = ServeRequest(
        names,
        host or said.host,
        said.port if port is None else port,
        default or said.default,
        alias,
        is_exposed,
        cache_bytes,
        worker_count,
        versions=versions,
        memory_budget_bytes=memory_bytes,
        allow_model_control=allow_model_control,
        grpc_port=grpc_port,
        is_observed=is_observed,
        observe_share=None if observe_share is None else parse_share(observe_share),
    )
    serve_until_stopped(build_house(home), request)


def serve_until_stopped(house: House, request: ServeRequest) -> None:
    """Serve, and say on stderr what happens."""
    leave_no_core()

    def listening(url: str) -> None:
        everything = f"all of @{request.alias}" if request.versions in {None, "alias"} else f"all models ({request.versions})"
        click.echo(f"{click.style('serving', fg='green')} {', '.join(request.names) or everything} on {url}", err=True)
        click.echo(f"  what is here: curl -s {url}/openapi.json    stop: Ctrl-C", err=True)

    run_server(request, house, on_listening=listening)
