"""Networks: pure `nn.Module`s, one folder a family, and the reading of weight files."""
