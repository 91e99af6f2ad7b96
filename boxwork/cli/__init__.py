"""The command line: every call of the platform, typed by a person or a script."""
