"""The command `fairlead`. Commands are imported when they are called, so that --help and completion stay fast."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

import click

from fairlead._version import __version__
from fairlead.cli.exit_codes import INTERRUPTED, MEANINGS, OK, UNEXPECTED, exit_code
from fairlead.errors import FairleadError

# name -> (module:attribute, one line of help). The help stands here so that `fairlead --help` imports no command.
COMMANDS = {
    "plan": ("fairlead.cli.plan_command:plan", "Say what would be tried, where, at what cost; builds nothing."),
    "deploy": ("fairlead.cli.deploy_command:deploy", "Prove a model, register it and point @production at it."),
    "compose": ("fairlead.cli.ensemble_command:compose", "Make one version of several registered models (ensemble.yaml)."),
    "convert": ("fairlead.cli.convert_command:convert", "Bring a model into another engine's form, compared with the original."),
    "optimize": ("fairlead.cli.optimize_command:optimize", "Make a model smaller and faster within requirements, found by a search."),
    "serve": ("fairlead.cli.serve_command:serve", "Serve what is in production over HTTP."),
    "watch": ("fairlead.cli.watch_command:watch", "Watch a model live: traffic, latency, drift, quality, promises, alerts."),
    "quality": ("fairlead.cli.quality_command:quality", "Say how well a model answers in production, by labels or without them."),
    "feedback": ("fairlead.cli.feedback_command:feedback", "Keep right answers that came later."),
    "alerts": ("fairlead.cli.alerts_commands:alerts", "Say what is wrong, tell people and programs, act by policy."),
    "top": ("fairlead.cli.top_command:top", "Watch a running server: rates, latencies, queues, memory."),
    "observe": ("fairlead.cli.observation_commands:observe", "Say what is kept of a model's requests, how redacted, how long."),
    "observations": ("fairlead.cli.observation_commands:observations", "Show the requests that were kept, or ask about them in SQL."),
    "collect": ("fairlead.cli.collect_command:collect", "Watch models that KServe or Seldon serve, by their payload loggers."),
    "drift": ("fairlead.cli.drift_command:drift", "Say which inputs moved since the release, and what it may cost."),
    "predict": ("fairlead.cli.predict_command:predict", "Ask a registered model, without a server."),
    "conformance": ("fairlead.cli.conformance_command:conformance", "Say whether a server keeps to the Open Inference Protocol V2."),
    "bench": ("fairlead.cli.bench_command:bench", "Load a server and say how much it answers, how fast, and whether rightly."),
    "batch": ("fairlead.cli.batch_command:batch", "Ask a registered model for every row of a file of any size; resumable."),
    "models": ("fairlead.cli.registry_commands:models", "List the registered models."),
    "versions": ("fairlead.cli.registry_commands:versions", "List the versions of a model."),
    "show": ("fairlead.cli.registry_commands:show", "Show a version: its promise, evidence and history."),
    "search": ("fairlead.cli.registry_commands:search", "Find versions by what is known of them: framework, metrics, tags, aliases."),
    "tag": ("fairlead.cli.registry_commands:tag", "Write tags on a version."),
    "note": ("fairlead.cli.registry_commands:note", "Describe a version or a model."),
    "stage": ("fairlead.cli.registry_commands:stage", "Say how far a version has come."),
    "explain": ("fairlead.cli.explain_command:explain", "Say why a model answers as it does, and what would change its decision."),
    "report": ("fairlead.cli.report_command:report", "Show a version's evidence as a page: what was measured, tried and rejected."),
    "promote": ("fairlead.cli.release_commands:promote", "Take a version into production: at once, by a canary, or unseen."),
    "rollback": ("fairlead.cli.release_commands:rollback", "End the canary that runs, or take @production back to the version before."),
    "release": ("fairlead.cli.release_commands:release", "Say how a release stands; hold, resume, stop or advance it."),
    "experiment": ("fairlead.cli.release_commands:experiment", "Compare versions on fixed shares of the requests."),
    "history": ("fairlead.cli.release_commands:history", "Say where @production pointed when, and what releases decided and why."),
    "apply": ("fairlead.cli.release_commands:apply_file", "Bring a model to what a release.yaml says."),
    "inspect": ("fairlead.cli.inspect_command:inspect", "Say what a model file is and what is unsafe in it, without opening it."),
    "export": ("fairlead.cli.bundle_commands:export", "Write a version as one file for another registry, or as a folder."),
    "import": ("fairlead.cli.bundle_commands:import_", "Register the version in a file that export wrote."),
    "card": ("fairlead.cli.card_command:card", "Print a version's model card: what it is, keeps, costs, and what is not known."),
    "diff": ("fairlead.cli.diff_command:diff", "Say what differs between two versions, in promise and in answers."),
    "protect": ("fairlead.cli.approval_commands:protect", "Let production move to approved versions only."),
    "approve": ("fairlead.cli.approval_commands:approve", "Stand for a version that somebody else published."),
    "gc": ("fairlead.cli.retention_command:gc", "Retire versions that nothing uses, and free their space."),
    "webhook": ("fairlead.cli.webhook_commands:webhook", "Tell other programs what happens in the registry."),
    "publish": ("fairlead.cli.publish_command:publish", "Publish a version to an MLflow tracking server."),
    "doctor": ("fairlead.cli.doctor_command:doctor", "Say what this machine has, what is missing, and the cure."),
    "schema": ("fairlead.cli.schema_command:schema", "Print the JSON schema of fairlead.yaml, ensemble.yaml or release.yaml, for editors."),
    "completion": ("fairlead.cli.completion_command:completion", "Print the shell completion script."),
}

EPILOG = """\b
Examples:
  fairlead inspect model.h5
  fairlead deploy model.h5 --name digits --data digits.npz \\
      --require "accuracy>=0.95" --require "p99_ms<=10"
  fairlead serve digits
  fairlead rollback digits

\b
Exit codes:
""" + "\n".join(f"  {code:>3}  {meaning}" for code, meaning in MEANINGS.items())

_INTERRUPTED = "Interrupted; nothing half-done was left behind."


class LazyGroup(click.Group):
    """A group that imports a command when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order in which a person meets them."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Import the command, or say which name is near."""
        import difflib  # noqa: PLC0415 - only needed here

        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"Did you mean '{near[0]}'?" if near else "See: fairlead --help"
            raise click.UsageError(f"There is no command '{args[0][:64]}'. {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, sentence) for name, (_, sentence) in COMMANDS.items()])


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="fairlead")
def root() -> None:
    """Fairlead takes a trained model and a promise, and leads it to a proven, versioned, running endpoint."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with a status of `exit_codes`."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run the command line; return the exit status. Errors go to stderr: one sentence and a hint, as JSON with --json."""
    as_json = "--json" in arguments
    try:
        root.main(args=list(arguments), prog_name="fairlead", standalone_mode=False, color=_colour())
    except FairleadError as error:
        report_error(error.message, error.hint, error.code, as_json=as_json)
        return exit_code(type(error))
    except click.ClickException as error:
        context = error.ctx if isinstance(error, click.UsageError) else None
        report_error(error.format_message(), f"See: {context.command_path if context else 'fairlead'} --help", "usage", as_json=as_json)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort) as error:
        said = str(error) or str(error.__cause__ or "")  # click turns the one into the other
        if as_json:
            report_error(said or _INTERRUPTED, "", "interrupted", as_json=True)
        else:
            click.echo(said or _INTERRUPTED, err=True)  # somebody wanted that: no error
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read our output has gone
        return OK
    except Exception as error:  # the last line of defence: a defect must not show a trace to a person who did nothing wrong
        if os.environ.get("FAIRLEAD_DEBUG"):
            raise
        hint = "Run it again with FAIRLEAD_DEBUG=1 and report what it prints."
        report_error(f"Fairlead has a defect: {type(error).__name__}: {error}", hint, "defect", as_json=as_json)
        return UNEXPECTED
    return OK


def report_error(message: str, hint: str, code: str, *, as_json: bool) -> None:
    """Print an error to stderr."""
    if as_json:
        import json  # noqa: PLC0415 - only needed here

        click.echo(json.dumps({"error": message, "hint": hint, "code": code}), err=True)
        return
    click.echo(click.style("error: ", fg="red", bold=True) + message, err=True, color=_colour())
    if hint:
        click.echo(click.style("       ", fg="red") + hint, err=True, color=_colour())


def _colour() -> bool | None:
    """Return False where nobody wants colours (https://no-color.org), None where the terminal decides."""
    return False if os.environ.get("NO_COLOR") else None
