"""The app that orders reports."""
