"""Safe loading: files of unknown origin are validated first and never execute code."""
