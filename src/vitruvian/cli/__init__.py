"""The command line: one file a verb; parse, call, print. Heavy imports live inside the commands."""
