package lab

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net"
)

// Hello is a ClientHello (RFC 8446 §4.1.2) that no TLS library would send. The
// zero value is an ordinary one of TLS 1.2 and 1.3 without a server name. A
// server answers it as far as its ServerHello.
type Hello struct {
	// ServerName goes into the extension server_name byte for byte, so that it
	// can be what a name must not be. Nil leaves the extension out.
	ServerName []byte
	// Only13 offers TLS 1.3 alone.
	Only13 bool
	// Padding makes the extension padding (RFC 7685) this long, in bytes. With
	// 20,000 the hello no longer fits into one record.
	Padding int
	// Record is how much of the hello a TLS record holds, in bytes; as much as
	// it can, 16 KiB, if zero.
	Record int
	// Extensions are added.
	Extensions []Extension
}

// Extension is a TLS extension as it goes over the wire.
type Extension struct {
	Type uint16
	Data []byte
}

// The numbers of the extensions that every Hello has or may have, of the IANA
// registry of TLS ExtensionType values.
const (
	extServerName           = 0
	extSupportedGroups      = 10
	extPointFormats         = 11
	extSignatureAlgorithms  = 13
	extPadding              = 21
	extSupportedVersions    = 43
	extKeyShare             = 51
	extEncryptedClientHello = 0xfe0d
)

// EncryptedClientHello is the extension of a client that hides its real server
// name (RFC 9849): what it holds cannot be read, and the Hello's ServerName is
// then only the outer one.
func EncryptedClientHello() Extension {
	var b bytes.Buffer
	b.WriteByte(0)                    // outer
	b.Write([]byte{0, 1, 0, 1})       // HKDF-SHA256, AES-128-GCM
	b.WriteByte(7)                    // the key's id
	b.Write(vector16(random(32)))     // the encapsulated key
	b.Write(vector16(random(16 * 9))) // the encrypted hello
	return Extension{extEncryptedClientHello, b.Bytes()}
}

// Bytes is the hello as it goes over the wire, in records.
func (h Hello) Bytes() []byte {
	extensions := h.Extensions
	if h.ServerName != nil {
		name := append([]byte{0}, vector16(h.ServerName)...) // 0: host_name
		extensions = append([]Extension{{extServerName, vector16(name)}}, extensions...)
	}
	versions := []byte{3, 4, 3, 3}
	if h.Only13 {
		versions = versions[:2]
	}
	extensions = append(extensions,
		Extension{extSupportedGroups, vector16([]byte{0, 29, 0, 23})}, // x25519, P-256
		Extension{extPointFormats, vector8([]byte{0})},
		// ECDSA with P-256, RSA-PSS and RSA PKCS #1, each with SHA-256.
		Extension{extSignatureAlgorithms, vector16([]byte{4, 3, 8, 4, 4, 1})},
		Extension{extSupportedVersions, vector8(versions)},
		// Any 32 bytes are a public key of x25519.
		Extension{extKeyShare, vector16(append([]byte{0, 29}, vector16(random(32))...))},
	)
	if h.Padding > 0 {
		extensions = append(extensions, Extension{extPadding, make([]byte, h.Padding)})
	}
	var list bytes.Buffer
	for _, extension := range extensions {
		list.Write(binary.BigEndian.AppendUint16(nil, extension.Type))
		list.Write(vector16(extension.Data))
	}

	var body bytes.Buffer
	body.Write([]byte{3, 3}) // TLS 1.2, as RFC 8446 wants it
	body.Write(random(32))
	body.Write(vector8(random(32))) // a session id, for middleboxes
	// TLS 1.3's three suites, then ECDHE with ECDSA or RSA for TLS 1.2.
	suites := []byte{0x13, 1, 0x13, 2, 0x13, 3, 0xc0, 0x2b, 0xc0, 0x2f}
	if h.Only13 {
		suites = suites[:6]
	}
	body.Write(vector16(suites))
	body.Write(vector8([]byte{0})) // no compression
	body.Write(vector16(list.Bytes()))

	length := body.Len()
	message := append([]byte{1, byte(length >> 16), byte(length >> 8), byte(length)}, body.Bytes()...)
	return records(message, h.Record)
}

// longestRecord is what a record can hold (RFC 8446 §5.1).
const longestRecord = 1 << 14

// records cuts a handshake message into records.
func records(message []byte, size int) []byte {
	if size <= 0 || size > longestRecord {
		size = longestRecord
	}
	var out bytes.Buffer
	for len(message) > 0 {
		n := min(size, len(message))
		out.Write([]byte{22, 3, 1}) // handshake, in the version a first hello has
		out.Write(vector16(message[:n]))
		message = message[n:]
	}
	return out.Bytes()
}

// vector8 puts the length, in one byte, before the data; vector16 in two.
func vector8(data []byte) []byte {
	if len(data) > 0xff {
		panic(fmt.Sprintf("lab: %d bytes do not fit into a vector with a length of one byte", len(data)))
	}
	return append([]byte{byte(len(data))}, data...)
}

func vector16(data []byte) []byte {
	if len(data) > 0xffff {
		panic(fmt.Sprintf("lab: %d bytes do not fit into a vector with a length of two bytes", len(data)))
	}
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(data))), data...)
}

func random(n int) []byte {
	data := make([]byte, n)
	_, _ = rand.Read(data) // it never fails (crypto/rand)
	return data
}

// InPieces makes every Write of a connection many, of at most size bytes each.
func InPieces(conn net.Conn, size int) net.Conn { return &pieces{conn, max(size, 1)} }

type pieces struct {
	net.Conn
	size int
}

// Write writes the pieces one by one.
func (p *pieces) Write(data []byte) (int, error) {
	written := 0
	for written < len(data) {
		n, err := p.Conn.Write(data[written:min(written+p.size, len(data))])
		written += n
		if err != nil {
			return written, err
		}
	}
	return written, nil
}
