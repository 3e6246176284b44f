SELECT submitted_at FROM job WHERE id = :id
