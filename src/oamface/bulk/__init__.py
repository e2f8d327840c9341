"""Millions of images on many machines: the same answers as one `analyze`, as Parquet, each image once."""
