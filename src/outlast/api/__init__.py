"""The web server and the dashboard, which uses the public API only."""

from outlast.api.guard import guard_exposure
from outlast.api.server import create

__all__ = ["create", "guard_exposure"]
