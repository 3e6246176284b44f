"""Outlast runs work that outlasts the request."""
