"""What a run folder is: its identity, lock, checkpoints, manifest, log, progress, and the signals that stop it."""
