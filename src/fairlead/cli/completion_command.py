"""`fairlead completion`: the script that completes commands and options in a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from fairlead.errors import SpecError


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    Examples:
      eval "$(fairlead completion bash)"          # this session
      fairlead completion bash >> ~/.bashrc       # every session
      fairlead completion fish > ~/.config/fish/completions/fairlead.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise SpecError(f"There is no completion for '{shell}'.", hint="Choose bash, zsh or fish.")
    click.echo(kind(context.find_root().command, {}, "fairlead", "_FAIRLEAD_COMPLETE").source())
