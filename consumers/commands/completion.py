"""``signinwatch completion``: what a shell needs to complete commands and options."""

from __future__ import annotations

import click

from consumers.commands.global_options import PROGRAM

COMPLETE_VARIABLE = "_SIGNINWATCH_COMPLETE"
"""Set by the script when the shell wants completions; click derives it from the program's name."""


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion_command(context: click.Context, shell: str) -> None:
    """Print the script that completes commands and options with the Tab key.

    \b
    bash: add this line to ~/.bashrc
      eval "$(signinwatch completion bash)"
    zsh: add this line to ~/.zshrc, after compinit
      eval "$(signinwatch completion zsh)"
    fish: run this once
      signinwatch completion fish > ~/.config/fish/completions/signinwatch.fish
    """  # noqa: D301 - click reads the character
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 - click has all three
    root = context.find_root().command
    click.echo(kind(root, {}, PROGRAM, COMPLETE_VARIABLE).source())
