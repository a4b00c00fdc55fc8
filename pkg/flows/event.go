package flows

// Event is a flow as it is handed on: to files, collectors and the store. It must
// not be changed.
type Event struct {
	Flow
	// JSON is the flow, without an end of line.
	JSON []byte
}

// NewEvent makes an event of a flow.
func NewEvent(f Flow) (*Event, error) {
	line, err := f.MarshalJSON()
	if err != nil {
		return nil, err
	}
	return &Event{Flow: f, JSON: line}, nil
}

// Host is the name that was asked for, without a port; empty if none was.
func (f Flow) Host() string { return f.RequestedServerName }

// Ended reports whether this is the last word about a connection, and not that it
// is open.
func (f Flow) Ended() bool { return f.ConnectionEvent != EventOpen }

// Printable makes text from the network harmless for whoever prints it: what is not
// printable becomes an escape sequence of Go's.
func Printable(s string) string { return escape(s) }
