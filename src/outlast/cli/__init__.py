"""Commands."""

import sys


def main() -> int:
    """Run the command line; return its exit code."""
    try:
        import click  # noqa: F401
    except ImportError:
        print("outlast: the commands need an extra: pip install 'outlast[cli]'", file=sys.stderr)
        return 2
    from outlast.cli.commands import run

    return run()
