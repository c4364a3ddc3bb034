"""What audit, evaluation and benchmarks draw with: pages, plots, text for a terminal."""
