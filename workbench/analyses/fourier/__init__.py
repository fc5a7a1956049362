"""What is periodic: spectra of variables, filters, and how arithmetic is done by waves."""
