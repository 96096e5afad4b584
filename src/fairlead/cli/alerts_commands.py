"""`fairlead alerts run|list|add|policy|silence|test|remove|export`: what is wrong, who is told, what is done about it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fairlead.cli.printing import Duration, emit_json, home_option, json_option, mark
from fairlead.errors import SpecError, UnavailableError

if TYPE_CHECKING:
    from fairlead.app.alert_admin import Added
    from fairlead.app.alerting import Round

_KINDS = ("webhook", "alertmanager", "email", "command")


@click.group("alerts")
def alerts() -> None:
    """Say what is wrong with models in production, tell people and programs, and act by policy."""


@alerts.command("run")
@click.argument("models", nargs=-1)
@click.option("--every", "every_s", type=Duration(), default="5m", show_default=True, help="Time between two rounds.")
@click.option("--once", is_flag=True, help="One round, then end: for cron.")
@click.option("--url", default="", help="Where a person looks: it is written into what is sent.")
@home_option
@json_option
def run(models: tuple[str, ...], *, every_s: float, once: bool, url: str, home: str | None, as_json: bool) -> None:
    """Look at MODELS (none: all in production) again and again: quality, promises, drift; tell receivers, act by policy.

    Any number of these may run, on any machine that reaches the registry and the observation log: each thing is told and done once.
    """
    from fairlead.app.alerting import evaluate, keep_watch, watched  # noqa: PLC0415 - --help needs none of it
    from fairlead.app.wiring import build_house  # noqa: PLC0415 - likewise
    from fairlead.cli.alerts_text import round_text  # noqa: PLC0415 - likewise
    from fairlead.cli.patience import be_humble, until_told  # noqa: PLC0415 - likewise
    from fairlead.security.own_process import leave_no_core  # noqa: PLC0415 - likewise

    leave_no_core()
    house = build_house(home)

    def tell(one: Round) -> None:
        if as_json:
            emit_json(one)
            return
        text = round_text(one)
        if text:
            click.echo(text)

    if once:
        tell(evaluate(house, models, url=url))
        return
    be_humble()
    if not as_json:
        said = ", ".join(watched(house, models)) or "nothing yet: no model is in production"
        click.echo(f"Looking at {said}, every {every_s:g} s. What changes is printed; Ctrl-C ends it.", err=True)
    with until_told() as is_stopped:
        keep_watch(house, models, every_s, tell, is_stopped=is_stopped, url=url)


@alerts.command("list")
@click.option("--all", "is_all", is_flag=True, help="Also alerts that have ended.")
@home_option
@json_option
def listing(*, is_all: bool, home: str | None, as_json: bool) -> None:
    """List alerts, who is told, silences and policies."""
    from fairlead.app.alert_admin import overview  # noqa: PLC0415 - as above
    from fairlead.app.wiring import build_house  # noqa: PLC0415 - as above
    from fairlead.cli.alerts_text import overview_text  # noqa: PLC0415 - as above

    found = overview(build_house(home))
    if as_json:
        emit_json(found)
        return
    click.echo(overview_text(found, is_all=is_all))


@alerts.command("add")
@click.argument("kind", type=click.Choice(_KINDS))
@click.argument("target")
@click.option("--for", "matchers", multiple=True, metavar="LABEL=VALUE", help="Only alerts like this: model=digits, severity=critical.")
@click.option("--smtp", "server", default="", help="Mail server: smtp+starttls://mail.example.com, smtps://..., smtp://...")
@click.option("--from", "sender", default="", help="Address that mail comes from.")
@click.option("--user", default="", help="Who logs in at the mail server.")
@click.option("--password-file", type=click.Path(path_type=Path), help="File whose first line is the password.")
@click.option("--repeat", "repeat_s", type=Duration(), default="4h", show_default=True, help="What goes on is told again after this long.")
@click.option("--no-resolved", is_flag=True, help="Do not tell that an alert has ended.")
@home_option
@json_option
def add(
    *,
    kind: str,
    target: str,
    matchers: tuple[str, ...],
    server: str,
    sender: str,
    user: str,
    password_file: Path | None,
    repeat_s: float,
    no_resolved: bool,
    home: str | None,
    as_json: bool,
) -> None:
    """Tell TARGET of alerts: a URL (webhook, alertmanager), mail addresses with commas (email), or a program (command).

    A webhook gets what Alertmanager's webhooks send (version 4); a command gets the same on its standard input.

    \b
    Examples:
      fairlead alerts add webhook https://hooks.example.com/alerts --for severity=critical
      fairlead alerts add alertmanager http://alertmanager.example.com:9093
      fairlead alerts add email ops@example.com --smtp smtp+starttls://mail.example.com --from fairlead@example.com
      fairlead alerts add command "/usr/local/bin/page-me --quiet"
    """
    from fairlead.app import alert_admin  # noqa: PLC0415 - as above
    from fairlead.app.wiring import build_house  # noqa: PLC0415 - as above
    from fairlead.core.alert import ReceiverKind, parse_matchers  # noqa: PLC0415 - as above

    if kind != "email" and (server or sender or user or password_file is not None):
        raise SpecError(f"--smtp, --from, --user and --password-file are for email, not for a {kind}.")
    if kind == "email" and not (server and sender):
        raise SpecError("Mail needs a server and an address that it comes from.", hint="Give --smtp and --from.")
    new = alert_admin.NewReceiver(
        ReceiverKind(kind), target, parse_matchers(matchers), server, sender, user, password_file, repeat_s, not no_resolved
    )
    house = build_house(home)
    _say(alert_admin.add_receiver(new, house), as_json=as_json, then="fairlead alerts test", unwatched=alert_admin.unwatched(house))


@alerts.command("policy")
@click.argument("action", type=click.Choice(("roll-back", "shadow", "retrain")))
@click.option("--for", "matchers", multiple=True, required=True, metavar="LABEL=VALUE", help="On alerts like this.")
@click.option("--pause", "pause_s", type=Duration(), default="24h", show_default=True, help="Not again for a model within this time.")
@click.option("--command", default="", help="retrain: program that trains; it writes one model file into the folder FAIRLEAD_OUTPUT.")
@click.option("--data", default="", help="retrain: rows on which the new model is proven.")
@click.option("--target", default="", metavar="COLUMN", help="retrain: column of --data with the right answers.")
@click.option("--canary", "steps", default="", help='retrain: how it takes over, e.g. "1%,10%,50%".  [default: as its plan says]')
@home_option
@json_option
def policy(
    *,
    action: str,
    matchers: tuple[str, ...],
    pause_s: float,
    command: str,
    data: str,
    target: str,
    steps: str,
    home: str | None,
    as_json: bool,
) -> None:
    """Do something about alerts without asking: roll back, answer unseen (shadow), or train again.

    \b
    Examples:
      fairlead alerts policy roll-back --for alertname=BudgetBurn --for severity=critical
      fairlead alerts policy retrain --for alertname=Drift --for model=digits \\
          --command "python train.py" --data holdout.csv --target label --canary "1%,10%,50%"
    """
    from fairlead.app import alert_admin  # noqa: PLC0415 - as above
    from fairlead.app.wiring import build_house  # noqa: PLC0415 - as above
    from fairlead.core.alert import Policy, PolicyAction, parse_matchers  # noqa: PLC0415 - as above

    if action != "retrain" and (data or target or steps):
        raise SpecError(f"--data, --target and --canary are for retrain, not for {action}.", hint="Leave them out.")
    if (action == "retrain") != bool(command):
        raise SpecError("A command trains again, and nothing else does.", hint='fairlead alerts policy retrain --command "python train.py"')
    where = str(Path(data).absolute()) if data else ""
    made = Policy("", PolicyAction(action), parse_matchers(matchers), "", 0.0, pause_s, command, steps, where, target)
    house = build_house(home)
    _say(alert_admin.add_policy(made, house), as_json=as_json, then="", unwatched=alert_admin.unwatched(house))


@alerts.command("silence")
@click.argument("matchers", nargs=-1, metavar="LABEL=VALUE...")
@click.option("--for", "for_s", type=Duration(), default="2h", show_default=True, help="How long.")
@click.option("--comment", default="", help="Why.")
@home_option
@json_option
def silence(*, matchers: tuple[str, ...], for_s: float, comment: str, home: str | None, as_json: bool) -> None:
    """Tell nobody of alerts that all of LABEL=VALUE hold for: model=digits alertname=Drift. Their state goes on changing."""
    from fairlead.app import alert_admin  # noqa: PLC0415 - as above
    from fairlead.app.wiring import build_house  # noqa: PLC0415 - as above
    from fairlead.core.alert import parse_matchers  # noqa: PLC0415 - as above

    added = alert_admin.add_silence(parse_matchers(matchers), for_s, comment, build_house(home))
    _say(added, as_json=as_json, then="fairlead alerts remove")


@alerts.command("test")
@click.argument("identity", metavar="[ID]", required=False)
@home_option
@json_option
def test(identity: str | None, home: str | None, *, as_json: bool) -> None:
    """Send a test alert to a receiver now, without an ID to all of them."""
    from fairlead.app import alert_admin  # noqa: PLC0415 - as above
    from fairlead.app.wiring import build_house  # noqa: PLC0415 - as above

    house = build_house(home)
    tested = ((alert_admin.try_out(identity, house), None),) if identity else alert_admin.try_out_all(house)
    problems = [problem for _, problem in tested if problem is not None]
    if as_json:
        emit_json([{"id": name, "problem": "" if problem is None else problem.message} for name, problem in tested])
    else:
        for name, problem in tested:
            click.echo(f"{mark(is_good=problem is None)} {f'{name} took the test alert.' if problem is None else problem.message}")
    if problems:
        raise UnavailableError(f"{len(problems)} of {len(tested)} receivers did not take it.", hint=problems[0].hint)


@alerts.command("remove")
@click.argument("identity", metavar="ID")
@home_option
@json_option
def remove(identity: str, home: str | None, *, as_json: bool) -> None:
    """Remove a receiver, a silence or a policy."""
    from fairlead.app import alert_admin  # noqa: PLC0415 - as above
    from fairlead.app.wiring import build_house  # noqa: PLC0415 - as above

    removed = alert_admin.remove(identity, build_house(home))
    if as_json:
        emit_json({"removed": removed})
        return
    click.echo(f"Removed {removed}.")


@alerts.command("export")
@click.option("--prometheus", type=click.Path(path_type=Path, dir_okay=False), help="Write alert rules for Prometheus here.")
@click.option("--grafana", type=click.Path(path_type=Path, dir_okay=False), help="Write a dashboard for Grafana here.")
@home_option
@json_option
def export(*, prometheus: Path | None, grafana: Path | None, home: str | None, as_json: bool) -> None:
    """Write what other watchers load, for the models in production and their promises. Write it anew after a promise has changed."""
    from fairlead.app import alert_admin  # noqa: PLC0415 - as above
    from fairlead.app.wiring import build_house  # noqa: PLC0415 - as above

    if prometheus is None and grafana is None:
        raise SpecError("Nothing is to be written.", hint="Give --prometheus rules.yml, --grafana dashboard.json, or both.")
    written = alert_admin.export(build_house(home), prometheus=prometheus, grafana=grafana)
    if as_json:
        emit_json({"written": [str(path) for path in written]})
        return
    for path in written:
        click.echo(f"{mark(is_good=True)} {path}")


def _say(added: Added, *, as_json: bool, then: str, unwatched: Sequence[str] = ()) -> None:
    if as_json:
        emit_json(added)
        return
    click.echo(f"{added.id}  {added.what}")
    if added.warning:
        click.echo(added.warning, err=True)
    if then:
        click.echo(f"{'Try it' if 'test' in then else 'End it'}: {then} {added.id}")
    if unwatched:
        click.echo(f"Nobody looks for alerts of {', '.join(unwatched)}: start fairlead alerts run, and let it go on.", err=True)
