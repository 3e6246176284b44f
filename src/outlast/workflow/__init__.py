"""The rules for many jobs: declared graphs and replayed code. Pure. Not built yet."""
