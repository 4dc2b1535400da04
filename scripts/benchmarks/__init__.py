"""What `scripts.benchmark` measures, a module for each subject, and how: timing, ceilings, work, machine, report."""
