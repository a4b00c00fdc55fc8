package istio_test

// tcpInstead has the TLS connections led by a tcp route at the gateway.
func tcpInstead() []string {
	return []string{
		"VirtualService spec.tls[1]=",
		"VirtualService spec.tls[0].route[0].destination.port.number=9443",
		`VirtualService spec.tcp=[{"match": [{"gateways": ["egress"], "port": 9443}], "route": [{"destination": {"host": "a.example.com", "port": {"number": 443}}}]}]`,
	}
}

// static has the ServiceEntry's server at addresses.
func static() []string {
	return []string{"ServiceEntry spec.resolution=\"STATIC\"", `ServiceEntry spec.endpoints=[{"address": "198.51.100.7"}]`}
}

// fieldCase is an edit that gives a field a value, or another one. Edits are KIND
// PATH=JSON, without JSON to remove.
type fieldCase struct {
	row  string // KIND FIELD
	edit string // PATH=JSON
	// given are edits that are made before.
	given []string
}

// fieldCases has a case for each row of the tables.
func fieldCases() []fieldCase {
	var out []fieldCase
	add := func(kind, row, edit string, given ...string) {
		out = append(out, fieldCase{kind + " " + row, kind + " " + edit, given})
	}
	se := func(row, edit string, given ...string) { add("ServiceEntry", row, edit, given...) }
	se("metadata.annotations", `metadata.annotations={"sallyport.dev/private-addresses": "Allow"}`)
	se("spec.hosts", `spec.hosts=["a.example.com", "c.example.com"]`)
	se("spec.addresses", `spec.addresses=["192.0.2.1"]`)
	se("spec.ports", `spec.ports=[]`)
	se("spec.ports.number", `spec.ports[0].number=8443`, "VirtualService -", "Gateway -", "DestinationRule -", "toGateway -")
	se("spec.ports.protocol", `spec.ports[0].protocol="TCP"`)
	se("spec.ports.name", `spec.ports[0].name="x"`, append(static(), `ServiceEntry spec.endpoints[0].ports={"https": 8443}`)...)
	se("spec.ports.targetPort", `spec.ports[0].targetPort=8443`)
	se("spec.location: MESH_EXTERNAL", `spec.location="MESH_EXTERNAL"`, `ServiceEntry spec.location="MESH_INTERNAL"`)
	se("spec.location: MESH_INTERNAL", `spec.location="MESH_INTERNAL"`)
	se("spec.resolution", `spec.resolution="STATIC"`, `ServiceEntry spec.endpoints=[{"address": "198.51.100.7"}]`, `ServiceEntry spec.resolution="NONE"`)
	se("spec.endpoints", `spec.endpoints=[{"address": "c.example.com"}]`)
	se("spec.endpoints.address", `spec.endpoints[0].address="198.51.100.8"`, static()...)
	se("spec.endpoints.ports", `spec.endpoints[0].ports={"https": 8443}`, static()...)
	se("spec.endpoints.labels", `spec.endpoints[0].labels={"a": "b"}`, static()...)
	se("spec.endpoints.network", `spec.endpoints[0].network="n"`, static()...)
	se("spec.endpoints.locality", `spec.endpoints[0].locality="l"`, static()...)
	se("spec.endpoints.weight", `spec.endpoints[0].weight=7`, static()...)
	se("spec.endpoints.serviceAccount", `spec.endpoints[0].serviceAccount="s"`, static()...)
	se("spec.workloadSelector", `spec.workloadSelector={"labels": {"a": "b"}}`)
	se("spec.exportTo", `spec.exportTo=["default", "istio-system"]`)
	se("spec.subjectAltNames", `spec.subjectAltNames=["c.example.com"]`)

	gw := func(row, edit string, given ...string) { add("Gateway", row, edit, given...) }
	gw("spec.selector", `spec.selector={"istio": "ingressgateway"}`)
	gw("spec.servers", `spec.servers[0]=`)
	gw("spec.servers.port", `spec.servers[0].port={"number": 8443, "name": "tls", "protocol": "TLS"}`)
	gw("spec.servers.port.number", `spec.servers[0].port.number=8443`)
	gw("spec.servers.port.protocol", `spec.servers[1].port.protocol="TLS"`)
	gw("spec.servers.port.name", `spec.servers[1].port.name="tls"`)
	gw("spec.servers.port.targetPort", `spec.servers[0].port.targetPort=8443`)
	gw("spec.servers.bind", `spec.servers[0].bind="127.0.0.1"`)
	gw("spec.servers.hosts", `spec.servers[0].hosts=["other/a.example.com"]`)
	gw("spec.servers.tls", `spec.servers[0].tls=`)
	gw("spec.servers.tls.mode", `spec.servers[0].tls.mode="ISTIO_MUTUAL"`)
	gw("spec.servers.tls.mode: SIMPLE", `spec.servers[0].tls.mode="SIMPLE"`)
	gw("spec.servers.defaultEndpoint", `spec.servers[0].defaultEndpoint="127.0.0.1:80"`)
	gw("spec.servers.name", `spec.servers[0].name="x"`)
	for _, name := range []string{"httpsRedirect", "insecureSkipVerify"} {
		gw("spec.servers.tls."+name, "spec.servers[0].tls."+name+"=true")
	}
	for _, name := range []string{
		"serverCertificate", "privateKey", "caCertificates", "caCrl", "credentialName", "credentialNames", "caCertCredentialName", "tlsCertificates",
		"subjectAltNames", "verifyCertificateSpki", "verifyCertificateHash", "minProtocolVersion", "maxProtocolVersion", "cipherSuites",
	} {
		gw("spec.servers.tls."+name, "spec.servers[0].tls."+name+`="x"`)
	}

	vs := func(row, edit string, given ...string) { add("VirtualService", row, edit, given...) }
	vs("spec.hosts", `spec.hosts=["*.example.com"]`, `VirtualService spec.tls=`)
	vs("spec.gateways", `spec.gateways=["mesh"]`)
	vs("spec.exportTo", `spec.exportTo=["."]`)
	vs("spec.tls", `spec.tls[1]=`)
	vs("spec.http", `spec.http=[]`)
	vs("spec.tcp", `spec.tcp=[]`, tcpInstead()...)
	for kind, given := range map[string][]string{"tls": nil, "http": nil, "tcp": tcpInstead()} {
		// The route at the gateway.
		at := "1"
		if kind == "tcp" {
			at = "0"
		}
		route := "spec." + kind + "[" + at + "]"
		vs("spec."+kind+".match", route+`.match=[{"gateways": ["egress"], "port": 8443, "sniHosts": ["a.example.com"]}]`, given...)
		if kind != "tls" {
			out[len(out)-1].edit = "VirtualService " + route + `.match=[{"gateways": ["egress"], "port": 8443}]`
		}
		vs("spec."+kind+".match.port", route+".match[0].port=8443", given...)
		vs("spec."+kind+".match.gateways", route+`.match[0].gateways=["istio-system/egress"]`, given...)
		vs("spec."+kind+".match.sourceLabels", route+`.match[0].sourceLabels={"a": "b"}`, given...)
		vs("spec."+kind+".match.sourceNamespace", route+`.match[0].sourceNamespace="x"`, given...)
		vs("spec."+kind+".route", route+`.route=[{"destination": {"host": "b.example.com", "port": {"number": 443}}}]`, given...)
		vs("spec."+kind+".route.destination", route+`.route[0].destination={"host": "b.example.com", "port": {"number": 443}}`, given...)
		vs("spec."+kind+".route.destination.host", route+`.route[0].destination.host="b.example.com"`, given...)
		vs("spec."+kind+".route.destination.port", route+`.route[0].destination.port={"number": 80}`, given...)
		vs("spec."+kind+".route.destination.port.number", route+".route[0].destination.port.number=80", given...)
		vs("spec."+kind+".route.weight", route+".route[0].weight=50", given...)
	}
	vs("spec.tls.match.sniHosts", `spec.tls[0].match[0].sniHosts=["b.example.com"]`, `VirtualService spec.hosts=["a.example.com", "b.example.com"]`)
	vs("spec.tls.match.destinationSubnets", `spec.tls[0].match[0].destinationSubnets=["10.0.0.0/8"]`)
	vs("spec.tcp.match.destinationSubnets", `spec.tcp[0].match[0].destinationSubnets=["10.0.0.0/8"]`, tcpInstead()...)
	vs("spec.tcp.match.sourceSubnet", `spec.tcp[0].match[0].sourceSubnet="10.0.0.0/8"`, tcpInstead()...)
	vs("spec.tls.route.destination.subset", `spec.tls[0].route[0].destination.subset="b"`)
	vs("spec.http.route.destination.subset", `spec.http[0].route[0].destination.subset="b"`)
	vs("spec.tcp.route.destination.subset", `spec.tls[0].route[0].destination.subset="b"`, tcpInstead()...)
	vs("spec.http.name", `spec.http[0].name="x"`)
	vs("spec.http.match.name", `spec.http[0].match[0].name="x"`)
	vs("spec.http.match.statPrefix", `spec.http[0].match[0].statPrefix="x"`)
	vs("spec.http.route.headers", `spec.http[0].route[0].headers={}`)
	for _, name := range []string{"uri", "scheme", "method", "authority", "headers", "queryParams", "ignoreUriCase", "withoutHeaders"} {
		vs("spec.http.match."+name, `spec.http[0].match[0].`+name+`={}`)
	}
	for _, name := range []string{
		"redirect", "directResponse", "fault", "corsPolicy", "rewrite", "headers", "delegate", "timeout", "retries",
		"mirror", "mirrors", "mirrorPercent", "mirrorPercentage",
	} {
		vs("spec.http."+name, `spec.http[0].`+name+`={}`)
	}

	gw = func(row, edit string, given ...string) { add(ofTheGateway, row, edit, given...) }
	gw("metadata.namespace", `metadata.namespace="other"`)
	gw("spec.host", `spec.host="istio-egressgateway.other.svc.cluster.local"`)
	gw("spec.exportTo", `spec.exportTo=["other"]`)
	gw("spec.workloadSelector", `spec.workloadSelector={"matchLabels": {"a": "b"}}`)
	gw("spec.subsets", `spec.subsets=[]`)
	gw("spec.subsets.name", `spec.subsets[0].name="b"`)
	gw("spec.subsets.labels", `spec.subsets[0].labels={"version": "v2"}`)
	gw("spec.trafficPolicy.tls", `spec.trafficPolicy.tls=`)
	gw("spec.trafficPolicy.tls.mode", `spec.trafficPolicy.tls.mode="SIMPLE"`)
	gw("spec.trafficPolicy.tls.sni", `spec.trafficPolicy.tls.sni=`)
	gw("spec.trafficPolicy.portLevelSettings", `spec.trafficPolicy.portLevelSettings=[{"port": {"number": 80}, "tls": {"mode": "DISABLE"}}]`)
	gw("spec.trafficPolicy.loadBalancer", `spec.trafficPolicy.loadBalancer={"simple": "ROUND_ROBIN"}`)
	gw("spec.trafficPolicy.connectionPool", `spec.trafficPolicy.connectionPool={"tcp": {"maxConnections": 1}}`)
	gw("spec.trafficPolicy.outlierDetection", `spec.trafficPolicy.outlierDetection={"interval": "1s"}`)
	gw("spec.subsets.trafficPolicy", `spec.subsets[0].trafficPolicy=`)
	gw("spec.subsets.trafficPolicy.tls", `spec.subsets[0].trafficPolicy.tls={"mode": "DISABLE"}`)
	gw("spec.subsets.trafficPolicy.portLevelSettings", `spec.subsets[0].trafficPolicy.portLevelSettings[0].tls.mode="ISTIO_MUTUAL"`)

	dr := func(row, edit string, given ...string) { add("DestinationRule", row, edit, given...) }
	dr("spec.host", `spec.host="b.example.com"`)
	dr("spec.exportTo", `spec.exportTo=["."]`)
	dr("spec.workloadSelector", `spec.workloadSelector={"matchLabels": {"a": "b"}}`)
	dr("spec.subsets", `spec.subsets=[{"name": "a", "labels": {"a": "b"}}]`)
	dr("spec.trafficPolicy", `spec.trafficPolicy=`)
	dr("spec.trafficPolicy.tls", `spec.trafficPolicy.tls=`)
	dr("spec.trafficPolicy.portLevelSettings", `spec.trafficPolicy.portLevelSettings=[{"port": {"number": 443}, "connectionPool": {}}]`)
	perPort := `DestinationRule spec.trafficPolicy.portLevelSettings=[{"port": {"number": 443}, "tls": {"mode": "SIMPLE"}}]`
	const port = "spec.trafficPolicy.portLevelSettings[0]"
	dr("spec.trafficPolicy.portLevelSettings.port", port+`.port={"number": 80}`, perPort, "DestinationRule spec.trafficPolicy.tls=")
	dr("spec.trafficPolicy.portLevelSettings.port.number", port+`.port.number=80`, perPort, "DestinationRule spec.trafficPolicy.tls=")
	dr("spec.trafficPolicy.portLevelSettings.tls", port+`.tls={"mode": "DISABLE"}`, perPort)
	for row, at := range map[string]string{"spec.trafficPolicy": "spec.trafficPolicy", "spec.trafficPolicy.portLevelSettings": port} {
		given := []string(nil)
		if row != at {
			given = []string{perPort}
		}
		dr(row+".tls.mode", at+`.tls.mode="DISABLE"`, given...)
		dr(row+".tls.caCertificates", at+`.tls.caCertificates="/roots.pem"`, given...)
		dr(row+".tls.subjectAltNames", at+`.tls.subjectAltNames=["c.example.com"]`, given...)
		dr(row+".tls.sni", at+`.tls.sni="c.example.com"`, given...)
		dr(row+".tls.insecureSkipVerify", at+`.tls.insecureSkipVerify=true`, given...)
		for _, name := range []string{"clientCertificate", "privateKey", "credentialName", "caCrl"} {
			dr(row+".tls."+name, at+`.tls.`+name+`="/x"`, given...)
		}
		dr(row+".loadBalancer", at+`.loadBalancer={"simple": "ROUND_ROBIN"}`, given...)
		dr(row+".connectionPool", at+`.connectionPool={"tcp": {"maxConnections": 1}}`, given...)
		dr(row+".outlierDetection", at+`.outlierDetection={"interval": "1s"}`, given...)
	}
	dr("spec.trafficPolicy.tls.mode: MUTUAL", `spec.trafficPolicy.tls.mode="MUTUAL"`)
	dr("spec.trafficPolicy.tls.mode: ISTIO_MUTUAL", `spec.trafficPolicy.tls.mode="ISTIO_MUTUAL"`)
	dr("spec.trafficPolicy.loadBalancer.simple: PASSTHROUGH", `spec.trafficPolicy.loadBalancer={"simple": "PASSTHROUGH"}`)
	dr("spec.trafficPolicy.retryBudget", `spec.trafficPolicy.retryBudget={"percent": 1}`)
	dr("spec.trafficPolicy.tunnel", `spec.trafficPolicy.tunnel={"targetHost": "x", "targetPort": 1}`)
	dr("spec.trafficPolicy.proxyProtocol", `spec.trafficPolicy.proxyProtocol={"version": "V1"}`)
	return out
}
