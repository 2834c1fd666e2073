"""Fine-tuning of published and embedded networks on data of one's own, inside a memory budget."""
