"""The same app with a planted bug: its workers take no notice of limits."""

from limited import app

from outlast.core.share import Gate

Gate.stopped_by = lambda *_: None

__all__ = ["app"]
