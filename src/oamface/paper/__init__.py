"""Everything that exists only to replicate the paper: its claims, an ablation study, a benchmark and a report."""
