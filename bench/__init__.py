"""Measurements, each beside a floor that does the same writes in the same run."""
