"""Tables of README that are counted: lines and promises."""
