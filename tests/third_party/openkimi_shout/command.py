"""The command ``openkimi shout``."""

from __future__ import annotations

import click


@click.command()
@click.argument("words", nargs=-1, required=True)
def shout(words: tuple[str, ...]) -> None:
    """Say WORDS louder."""
    click.echo(" ".join(words).upper() + "!")
