SELECT e.position, j.id, e.seq, e.type, e.at, e.data
FROM outlast.job AS j JOIN outlast.event AS e ON e.job = j.number
WHERE j.id = :id AND e.seq > :after AND (:type::text IS NULL OR e.type = :type)
ORDER BY e.seq LIMIT :limit
