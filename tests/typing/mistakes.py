"""A program with one wrong use of layerzoo per line. A type checker must report each of them and nothing else."""

from __future__ import annotations

import layerzoo

print(layerzoo.no_such_name)  # attr-defined
layerzoo.model(7)  # arg-type
layerzoo.models(modality="image")  # arg-type
layerzoo.extract("starter/minilm-l6", "tweets.txt", errors="ignore")  # arg-type
layerzoo.load("starter/minilm-l6", precision="float8")  # arg-type
layerzoo.load("starter/minilm-l6", pooling="mean")  # call-arg
layerzoo.model("starter/minilm-l6").layers[0].name = "stem"  # misc
print(layerzoo.Features(("a",), {}).concat().no_such_name)  # attr-defined
