SELECT e.position, j.id, e.seq, e.type, e.at, e.data
FROM event AS e JOIN job AS j ON j.number = e.job
WHERE e.position > :after AND (:type IS NULL OR e.type = :type)
ORDER BY e.position LIMIT :limit
