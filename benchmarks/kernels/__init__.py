"""The fused operators by themselves: right or wrong, then how fast."""
