-- A turn that the level has come to is like that of a lane which was never served.
UPDATE line SET pass = 0
WHERE queue = :queue AND priority = :priority AND task = :task AND pass > 0 AND pass <= :at
