package syntax

// list decodes the documents of a List, as `kubectl get -o yaml` writes it.
func (l *language) list(r *reader, n *node, into *Documents) {
	table := object[struct{}]{
		what: "a List",
		fields: []field[struct{}]{
			ignored[struct{}]("apiVersion", "v1."),
			ignored[struct{}]("kind", "List."),
			ignored[struct{}]("metadata", "Written by Kubernetes."),
			{name: "items", doc: "The documents.", required: true, read: func(r *reader, n *node, _ *struct{}) bool {
				if n.kind != list {
					r.errorf(n, "wrong-type", "a list of documents was expected here, not %s", r.describe(n))
					return false
				}
				for _, item := range n.items {
					if item.get("kind").value == "List" {
						r.errorf(item, "not-supported", "a List in a List is not supported: put its items beside it")
						continue
					}
					l.document(r, item, into)
				}
				return true
			}},
		},
	}
	table.read(r, n)
}
