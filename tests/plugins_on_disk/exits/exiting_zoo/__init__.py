"""It takes the whole process with it."""

import sys

print("a plugin prints")
sys.exit("no licence found")
