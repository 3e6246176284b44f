SELECT id, submitted_at FROM outlast.job WHERE id = ANY (:ids::text[])
