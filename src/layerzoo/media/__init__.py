"""From what a person names to what a network takes: samples are found, told apart and decoded. One file a modality."""
