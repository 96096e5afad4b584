"""`fairlead collect`: watch models that KServe, Seldon or others serve, by the events of their payload loggers."""

from __future__ import annotations

from collections.abc import Iterator

import click

from fairlead.app import collector as use
from fairlead.app.wiring import build_house
from fairlead.cli.printing import ByteSize, Duration, home_option
from fairlead.core.release_text import parse_share
from fairlead.security.own_process import leave_no_core

_WORDS = {
    "paired": "answered",
    "unanswered": "unanswered",
    "labelled": "labelled",
    "labels lost": "labels lost for want of room",
    "reward only": "feedback without a label (passed over)",
    "unasked": "answers without a request (dropped)",
    "repeated": "come twice (dropped)",
    "late": "come too late (dropped)",
    "unreadable": "not understood",
    "unread": "not read for want of time at the end",
    "failed": "lost by a mistake of Fairlead's",
    "refused": "refused (no CloudEvent, or of a service that no source names)",
    "ignored": "of transformers and explainers (passed over)",
}


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), default=use.PORT, show_default=True, help="TCP port; 0 lets the system choose.")
@click.option("--unsafe-expose", "is_exposed", is_flag=True, help="Allow a --host that other machines reach; nobody is asked for a key.")
@click.option("--wait", "wait_s", type=Duration(), default="60s", show_default=True, help="How long a request waits for its answer.")
@click.option("--memory", "waiting_bytes", type=ByteSize(), default="256MiB", show_default=True, help="What may wait, of all together.")
@click.option("--observe-share", metavar="SHARE", help="Which share of the requests is kept, e.g. 10%.  [default: 100%]")
@home_option
def collect(
    sources: tuple[str, ...],
    *,
    host: str | None,
    port: int,
    is_exposed: bool,
    wait_s: float,
    waiting_bytes: int,
    observe_share: str | None,
    home: str | None,
) -> None:
    """Take CloudEvents of other servers' payload loggers, and keep them in the observation log as requests to a registered version.

    A SOURCE says which version answers where: [NAMESPACE/]SERVICE[/PART]=MODEL:NUMBER. MODEL:NUMBER alone is for the service of that
    name, * stands for every one. An alias (MODEL@ALIAS) is followed; of MODEL:* the event says which version answered. Drift, quality,
    alerts and `fairlead observations` then work as for a model that is served here.

    \b
    Examples:
      fairlead collect digits:3
      fairlead collect sklearn-iris=iris:3 shop/churn=churn@production
      fairlead collect shop/iris/default=iris:3 shop/iris/canary=iris:4
      fairlead collect '*=digits:3' --host 0.0.0.0 --unsafe-expose
    """
    leave_no_core()
    share = None if observe_share is None else parse_share(observe_share)
    request = use.CollectRequest(sources, host, port, wait_s, waiting_bytes, is_exposed, share)
    found = use.collect(request, build_house(home), on_listening=_listening, report=lambda line: click.echo(f"  {line}", err=True))
    click.echo("\n".join(_lines(found)), err=True)


def _listening(listening: use.Listening) -> None:
    click.echo(f"{click.style('collecting', fg='green')} {', '.join(listening.watched)} on {listening.url}", err=True)
    click.echo(f"  counts: curl -s {listening.url}/    stop: Ctrl-C", err=True)


def _lines(found: use.Collection) -> Iterator[str]:
    """Say what became of events and requests."""
    if not found.events:
        yield "No event came."
    for model in sorted({model for model, _ in found.events}):
        told = [f"{found.events[model, result]:,} {words}" for result, words in _WORDS.items() if (model, result) in found.events]
        yield f"{model or 'of no model'}: {', '.join(told) or 'nothing to keep'}"
    for model, counts in sorted(found.requests.items()):
        lost = f", {counts.dropped + counts.failed:,} lost" if counts.dropped + counts.failed else ""
        yield f"{model}: {counts.written:,} in the log{lost}. See: fairlead observations {model}"
