"""The subjects of `scripts.benchmark`, a module for each, and what they share: tables, timing, trainers."""
