-- Claims go on side by side; whoever changes a limit waits for them, and they for the change.
BEGIN ISOLATION LEVEL READ COMMITTED;
SELECT pg_advisory_xact_lock_shared(hashtextextended('outlast limits', 0))
