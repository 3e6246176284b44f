"""The rules for one job: states, transitions, retry, admission, limits, errors and IDs. Pure."""
