"""The loops that keep the promises: promote, reap, relay, tick, prune, scale."""
