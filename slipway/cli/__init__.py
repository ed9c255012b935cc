"""The command line.

`app` and `promoting` have the commands, `output` says how they answer, `flows` how flows start, and
each `..._view` what a person is told.
"""


def main() -> None:
    """Entry point of the `slipway` program."""
    from slipway.cli.app import run

    run()
