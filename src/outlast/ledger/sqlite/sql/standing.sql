SELECT status, token, cancel_requested_at IS NOT NULL FROM job WHERE id = :id
