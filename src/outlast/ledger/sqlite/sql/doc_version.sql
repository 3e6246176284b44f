SELECT version FROM doc WHERE kind = :kind AND key = :key
