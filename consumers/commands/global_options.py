"""The options that go before the command, and what is said when they come after it."""

from __future__ import annotations

from typing import Any

import click

from schemas.errors import ConfigurationError

PROGRAM = "signinwatch"


class CommandLine(click.Group):
    """The group of all commands. Its own options belong before the command."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. ConfigurationError for an option of this group that comes after it."""
        try:
            return super().invoke(ctx)
        except click.NoSuchOption as error:
            misplaced = self._option(error.option_name)
            if misplaced is None:
                raise
            usage = error.option_name
            if not getattr(misplaced, "is_flag", False):
                usage += f" {misplaced.make_metavar(ctx)}"
            raise ConfigurationError(
                f"{error.option_name}: goes before the command: "
                f"{PROGRAM} {usage} {ctx.invoked_subcommand}"
            ) from None

    def _option(self, name: str) -> click.Parameter | None:
        return next((option for option in self.params if name in option.opts), None)
