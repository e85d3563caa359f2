"""The UniRef network in PyTorch. Importing this package imports no torch; its modules do."""
