"""Which single looks of heads an answer hangs on, and what each of them is made by."""
