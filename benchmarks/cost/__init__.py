"""What the package predicts of memory and latency, beside what is measured."""
