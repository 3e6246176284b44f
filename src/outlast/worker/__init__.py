"""The worker pool: receive, claim, execute, commit, and never lose a lease unnoticed."""
