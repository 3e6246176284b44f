SELECT due, at FROM pace WHERE subject = :subject
