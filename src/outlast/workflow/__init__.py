"""The rules for many jobs: declared graphs, and replay of steps written as code."""
