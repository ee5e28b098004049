"""FRePo for ddbench: the method, its ridge regression, its optimizer and its network."""
