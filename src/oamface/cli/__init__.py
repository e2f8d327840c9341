"""The command line: one file a group of commands. Each parses its options, calls the library, prints the result."""
