"""A weather report: the days, the charts and the pages."""
