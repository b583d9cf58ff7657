"""What `scripts/bench` measures with: a module for each subject, whose functions named bench_* are its measurements."""
