"""Tables with one schema, written as CSV, Parquet or JSON Lines; journal, pages and plots."""
