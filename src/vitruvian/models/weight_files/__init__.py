"""Weight files of any published kind -> plain {key: tensor}, executing nothing that stands in the file.

`read_weights` recognises safetensors, `.pth` pickles (zip and older), TorchScript archives and exported programs by
their content. Time and memory are those of the tensors: storages are mapped where their place in the file allows it.
"""

from vitruvian.models.weight_files.reading import WeightFile, read_weights, sha256_of

__all__ = ["WeightFile", "read_weights", "sha256_of"]
