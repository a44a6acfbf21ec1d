"""What travels and what it means: definition, runs, lanes, sequences, messages and their bytes. Knows no socket."""
