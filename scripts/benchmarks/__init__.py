"""The benchmarks of `scripts.benchmark`, one module each, and the modules they share: tables, timing, trainers."""
