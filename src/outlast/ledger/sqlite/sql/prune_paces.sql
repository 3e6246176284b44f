-- A due that has passed says no more than none.
DELETE FROM pace WHERE due <= :now
