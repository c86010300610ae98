"""Points decided one choice after the other, by what choices have brought."""
