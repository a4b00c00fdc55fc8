package syntax

// Reasons why fields cannot be honoured, where more than one field has one.
const (
	noTokens    = "the gateway does not authenticate tokens: they are inside the workload's TLS"
	noAddresses = "a rule is about identities; a listener's `sources` in the EgressGateway gives addresses theirs"
	noRequests  = "the gateway decides on hosts, and what a request says inside TLS it cannot see; use `when` with the key connection.sni"
)

func authorizationRule() object[AuthorizationRule] {
	return object[AuthorizationRule]{
		what: "a rule of an AuthorizationPolicy",
		fields: []field[AuthorizationRule]{
			bind("from", "The workloads that the rule is about: those that one of the sources matches.",
				listOf[AuthorizationSource]{element: wrapped("from", "source", authorizationSource()), least: 1}.value(),
				func(r *AuthorizationRule, all []AuthorizationSource, _ *node) { r.From = all }),
			bind("to", "What the rule is about: what one of the operations matches.",
				listOf[AuthorizationOperation]{element: wrapped("to", "operation", authorizationOperation()), least: 1}.value(),
				func(r *AuthorizationRule, all []AuthorizationOperation, _ *node) { r.To = all }),
			bind("when", "Conditions, all of which must hold.",
				listOf[AuthorizationCondition]{element: authorizationCondition().value()}.value(),
				func(r *AuthorizationRule, all []AuthorizationCondition, _ *node) { r.When = all }),
		},
		check: func(_ *reader, n *node, r *AuthorizationRule) bool {
			r.Pos = n.pos
			return true
		},
	}
}

// wrapped is an object with one field, which must be there.
func wrapped[T any](list, name string, o object[T]) value[T] {
	return object[T]{
		what:   "an element of " + list,
		fields: []field[T]{inline(name, "What "+o.what+" matches.", o, func(v *T) *T { return v }).must()},
	}.value()
}

func authorizationSource() object[AuthorizationSource] {
	type source = AuthorizationSource
	return object[source]{
		what: "a source",
		fields: []field[source]{
			bind("principals", "Identities, TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT. abc* is a prefix, *abc a suffix, * any identity.",
				texts("a principal", 1), func(s *source, t []Text, _ *node) { s.Principals = t }),
			bind("notPrincipals", "Identities that are not meant.", texts("a principal", 1), func(s *source, t []Text, _ *node) { s.NotPrincipals = t }),
			bind("namespaces", "Namespaces of the workloads. abc* is a prefix, * any namespace.",
				texts("a namespace", 1), func(s *source, t []Text, _ *node) { s.Namespaces = t }),
			bind("notNamespaces", "Namespaces that are not meant.", texts("a namespace", 1), func(s *source, t []Text, _ *node) { s.NotNamespaces = t }),
			bind("serviceAccounts", "Service accounts, NAMESPACE/NAME, or NAME in the policy's namespace.",
				texts("a service account", 1), func(s *source, t []Text, _ *node) { s.ServiceAccounts = t }),
			bind("notServiceAccounts", "Service accounts that are not meant.", texts("a service account", 1), func(s *source, t []Text, _ *node) { s.NotServiceAccounts = t }),
			bind("trustDomains", "Trust domains of the identities. abc* is a prefix, *abc a suffix, * any.",
				texts("a trust domain", 1), func(s *source, t []Text, _ *node) { s.TrustDomains = t }),
			bind("notTrustDomains", "Trust domains that are not meant.", texts("a trust domain", 1), func(s *source, t []Text, _ *node) { s.NotTrustDomains = t }),
			refused[source]("requestPrincipals", noTokens),
			refused[source]("notRequestPrincipals", noTokens),
			refused[source]("ipBlocks", noAddresses),
			refused[source]("notIpBlocks", noAddresses),
			refused[source]("remoteIpBlocks", "it is about what X-Forwarded-For claims; "+noAddresses),
			refused[source]("notRemoteIpBlocks", "it is about what X-Forwarded-For claims; "+noAddresses),
		},
		check: func(r *reader, n *node, s *source) bool {
			s.Pos = n.pos
			if len(n.entries) == 0 {
				r.errorf(n, "missing-field", "this source says nothing: name the workloads, or leave `from` out to mean every one")
				return false
			}
			if len(s.ServiceAccounts)+len(s.NotServiceAccounts) > 0 && len(s.Principals)+len(s.NotPrincipals)+len(s.Namespaces)+len(s.NotNamespaces) > 0 {
				r.errorf(n, "exclusive-fields", "serviceAccounts and notServiceAccounts do not go together with principals or namespaces in one source")
				return false
			}
			return true
		},
	}
}

func authorizationOperation() object[AuthorizationOperation] {
	type operation = AuthorizationOperation
	return object[operation]{
		what: "an operation",
		fields: []field[operation]{
			bind("hosts", "Hosts of HTTP requests, with and without a port: [example.com, \"example.com:*\"]. For TLS, use `when` with the key connection.sni.",
				texts("a host", 1), func(o *operation, t []Text, _ *node) { o.Hosts = t }),
			bind("notHosts", "Hosts of HTTP requests that are not meant.", texts("a host", 1), func(o *operation, t []Text, _ *node) { o.NotHosts = t }),
			bind("ports", "Ports of the gateway's listeners.", texts("a port", 1), func(o *operation, t []Text, _ *node) { o.Ports = t }),
			bind("notPorts", "Ports of the gateway's listeners that are not meant.", texts("a port", 1), func(o *operation, t []Text, _ *node) { o.NotPorts = t }),
			refused[operation]("methods", noRequests),
			refused[operation]("notMethods", noRequests),
			refused[operation]("paths", noRequests),
			refused[operation]("notPaths", noRequests),
		},
		check: func(r *reader, n *node, o *operation) bool {
			o.Pos = n.pos
			if len(n.entries) == 0 {
				r.errorf(n, "missing-field", "this operation says nothing: name hosts or ports, or leave `to` out to mean every one")
				return false
			}
			return true
		},
	}
}

func authorizationCondition() object[AuthorizationCondition] {
	type condition = AuthorizationCondition
	return object[condition]{
		what: "a condition",
		fields: []field[condition]{
			bind("key", "What the condition is about: connection.sni, source.principal, source.namespace, source.serviceAccount or source.trustDomain.",
				conditionKey(), func(c *condition, s string, _ *node) { c.Key = s }).must(),
			bind("values", "What it must be: one of these.", texts("a value", 1), func(c *condition, t []Text, _ *node) { c.Values = t }),
			bind("notValues", "What it must not be: any of these.", texts("a value", 1), func(c *condition, t []Text, _ *node) { c.NotValues = t }),
		},
		check: func(r *reader, n *node, c *condition) bool {
			c.Pos = n.pos
			if len(c.Values)+len(c.NotValues) == 0 {
				r.errorf(n, "missing-field", "a condition needs values or notValues")
				return false
			}
			return true
		},
	}
}
