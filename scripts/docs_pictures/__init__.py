"""The pictures that `scripts.make_docs` makes."""
