"""How stages run: their contract, one pass over a part, and the runners that spread parts over workers."""
