"""The command line: `main` has the commands and their options; what a command does is imported when it is called."""
