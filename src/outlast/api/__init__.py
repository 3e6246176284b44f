"""The web server and the dashboard, which uses the public API only."""

from outlast.api.server import create

__all__ = ["create"]
