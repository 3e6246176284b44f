"""`python -m outlast.cli.probe livez|readyz`: asks a supervisor on this machine; exit 0 if well.

For images without curl. It reads OUTLAST_HEALTH_PORT, and loads nothing else of ours.
"""

import os
import sys
from http.client import HTTPConnection, HTTPException
from typing import Final

_BOUND_S: Final = 4.0
_OK: Final = 200


def main(arguments: list[str]) -> int:
    """Ask once; say on standard error what is wrong."""
    path = arguments[0] if arguments else "livez"
    port = os.environ.get("OUTLAST_HEALTH_PORT", "")
    if not port.isdigit():
        print(f"probe: OUTLAST_HEALTH_PORT: expected a port, got {port!r:.40}", file=sys.stderr)
        return 2
    connection = HTTPConnection("127.0.0.1", int(port), timeout=_BOUND_S)
    try:
        connection.request("GET", f"/{path}")
        answer = connection.getresponse()
        told = answer.read(400).decode("utf-8", "replace").strip()
    except (OSError, HTTPException) as error:
        print(f"probe: port {port} does not answer: {error}", file=sys.stderr)
        return 1
    finally:
        connection.close()
    if answer.status != _OK:
        print(f"probe: {told}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
