package translate

import "sallyport/policy/model"

// Settings is what a Translator compares of an EgressGateway document.
func Settings(g *model.Gateway) model.Gateway { return settings(g) }
