"""Which input tokens a prediction uses: one file a method, one table of all, and the causal check that ranks them."""
