"""Compare layerzoo's preprocessing with every processor, feature extractor and tokenizer of transformers."""
