"""Commands."""

import sys
from importlib.util import find_spec


def main() -> int:
    """Run the command line; return its exit code."""
    if any(find_spec(name) is None for name in ("click", "rich")):
        print("outlast: the commands need an extra: pip install 'outlast[cli]'", file=sys.stderr)
        return 2
    from outlast.cli.commands import run

    return run()
