"""Running things: tasks, data and splits, the bilevel loop, the retrain loop, run folders and checkpoints."""
