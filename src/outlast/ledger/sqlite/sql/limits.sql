SELECT kind, key, doc FROM doc WHERE kind IN ('declared', 'limit', 'queue') LIMIT :most
