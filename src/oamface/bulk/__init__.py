"""Analyzes millions of images on many machines into Parquet files, with Ray Data; each image exactly once."""
