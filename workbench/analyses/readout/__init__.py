"""What the residual stream says, layer by layer."""
