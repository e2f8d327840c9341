"""Millions of photographs on many machines: the same answers as one `analyze`, as Parquet, each photograph once."""
