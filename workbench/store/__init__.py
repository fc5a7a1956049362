"""Activations on disk: a folder of safetensors shards and a manifest, written by `workbench.capture(store=...)`."""

from workbench.store.reader import ActivationStore as ActivationStore

__all__ = ["ActivationStore"]
