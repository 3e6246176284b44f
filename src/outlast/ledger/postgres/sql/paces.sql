SELECT subject, due, at FROM outlast.pace WHERE subject = ANY (:subjects::text[])
