package model

// Via is a set of the ways in which a workload can ask for a host. The zero
// value stands for all of them.
type Via int

const (
	// ViaTLS is TLS of the workload's own, whose server name is the host: also
	// inside a CONNECT tunnel.
	ViaTLS Via = 1 << iota
	// ViaHTTP is an HTTP request to the gateway, CONNECT or plain, whose
	// authority is the host.
	ViaHTTP
)

// Has reports whether the set includes a way.
func (v Via) Has(way Via) bool { return v == 0 || v&way != 0 }

// String is for people.
func (v Via) String() string {
	switch v {
	case ViaTLS:
		return "TLS"
	case ViaHTTP:
		return "HTTP"
	default:
		return "TLS and HTTP"
	}
}
