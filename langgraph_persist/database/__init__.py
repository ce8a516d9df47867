"""PostgreSQL: from a URL or nothing at all to connections that work."""
