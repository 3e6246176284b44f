SELECT id, status, token, cancel_requested_at IS NOT NULL FROM outlast.job WHERE id = ANY (:ids::text[])
