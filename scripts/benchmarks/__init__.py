"""What `scripts.benchmark` measures, a module for each subject, and how: timing, memory, ceilings, machine, report."""
