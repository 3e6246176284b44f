-- What was set for these subjects, what the code declares for them, their kinds' defaults, and the
-- records of the queues among them.
SELECT kind, key, doc FROM outlast.doc
WHERE (kind IN ('declared', 'limit') AND key = ANY (:subjects::text[]))
   OR (kind = 'queue' AND key = ANY (:queues::text[]))
