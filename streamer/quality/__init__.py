"""Whether data can be believed: bars checked, outliers told, sources compared and scored. Rules only."""
