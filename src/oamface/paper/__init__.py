"""The report: every table and figure of the paper beside what was measured, as one page that opens anywhere."""
