"""Commands: `python -m scripts.<name>`."""
