INSERT INTO outlast.migration (number) VALUES (:number)
