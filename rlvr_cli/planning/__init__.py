"""`rlvr plan`: memory and time of a recipe, predicted from its model's config. No weights are loaded."""
