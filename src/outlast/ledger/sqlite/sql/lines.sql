-- Two are enough to know whether there is anything to share.
SELECT priority, tenant, key, task, pass FROM line WHERE queue = :queue LIMIT 2
