"""An ALBERT masked language model over SMILES, from torch's own file format."""

from pathlib import Path
from typing import Any

from workbench.errors import BadFile
from workbench.models.sources.convert.tokenizer_files import smiles

TIED = {"predictions.decoder.weight", "predictions.decoder.bias"}  # to the embedding and to predictions.bias


def convert(members: Path, out: Path) -> dict[str, Any]:
    """Write config, weights and tokenizer."""
    import torch
    from safetensors.torch import save_file

    try:
        state = torch.load(members / "pytorch_model.bin", map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a file that is not what it should be
        raise BadFile(f"pytorch_model.bin cannot be read as plain weights: {error}") from error
    kept = {name: tensor.contiguous() for name, tensor in state.items() if name not in TIED}
    save_file(kept, out / "model.safetensors", metadata={"format": "pt"})
    (members / "config.json").replace(out / "config.json")
    smiles(members / "vocab.txt", out)
    return {"stored_dtype": "float32"}
