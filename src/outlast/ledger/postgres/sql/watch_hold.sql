SELECT pg_advisory_lock(hashtextextended('outlast supervisor ' || :name, 0))
