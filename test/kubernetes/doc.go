// Package kubernetes holds examples/kubernetes to the schemas of Kubernetes' API,
// of cert-manager and of SPIRE's controller manager, and to itself: what refers to
// what, which identity is whose, and that the programs take their arguments. It
// needs no cluster. It is a module of its own, so that nobody who builds sallyport
// gets Kubernetes' modules with it.
package kubernetes
