"""What is published below results/: which command makes each result, whether it is of this source, and runs it."""
