"""DuckDB: one writer, published copies, sandboxed reading."""
