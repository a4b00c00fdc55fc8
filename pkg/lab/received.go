package lab

import "net/http"

// Received is a request as a server got it.
type Received struct {
	// Host is the Host field, or HTTP/2's authority.
	Host string
	// URI is the request target, as it was sent.
	URI    string
	Header http.Header
	// Protocol is "HTTP/1.1" or "HTTP/2.0".
	Protocol string
	// ServerName is the one of the connection.
	ServerName string
}

// LastRequest is what the server was last asked, or the zero value.
func (o *Origin) LastRequest() Received {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.received) == 0 {
		return Received{}
	}
	last := o.received[len(o.received)-1]
	last.Header = last.Header.Clone()
	return last
}

// Requests are the latest of what the server was asked, in order.
func (o *Origin) Requests() []Received {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]Received(nil), o.received...)
}

// mostReceived is how many requests a server remembers.
const mostReceived = 1000

func (o *Origin) remember(r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.received) == mostReceived {
		o.received = o.received[1:]
	}
	o.received = append(o.received, Received{Host: r.Host, URI: r.RequestURI, Header: r.Header.Clone(), Protocol: r.Proto, ServerName: r.TLS.ServerName})
}
