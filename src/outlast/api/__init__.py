"""The web server and the dashboard."""
