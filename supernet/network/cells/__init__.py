"""One cell as modules: mixed, discrete and recurrent, with its norms, partial channels and checkpointing."""
