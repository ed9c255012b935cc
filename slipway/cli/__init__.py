"""The command line: `app` has the commands, `output` how they answer, `flows` how flows start."""


def main() -> None:
    """Entry point of the `slipway` program."""
    from slipway.cli.app import run

    run()
