package quicpeer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/bradawl/bradawl"
)

// Config fits QUIC into the datagrams of a connection. Its keepalives find out that a peer is
// gone without a word.
func Config() *quic.Config {
	return &quic.Config{InitialPacketSize: bradawl.MaxDatagram, DisablePathMTUDiscovery: true, KeepAlivePeriod: 10 * time.Second}
}

// ServerTLS has a certificate that says nothing: the connection below proves the peer.
func ServerTLS(protocols ...string) (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(10 * 365 * 24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, NextProtos: protocols}, nil
}

// ClientTLS takes whatever certificate there is, for the same reason.
func ClientTLS(protocols ...string) *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, NextProtos: protocols}
}

// PacketConn is the connection for a quic.Transport.
func PacketConn(conn *bradawl.Conn) net.PacketConn { return packetConn{conn.PacketConn()} }

// packetConn has buffers to set, because QUIC warns where it finds none. The session has set
// those of its sockets.
type packetConn struct{ net.PacketConn }

// SetReadBuffer does nothing.
func (packetConn) SetReadBuffer(int) error { return nil }

// SetWriteBuffer does nothing.
func (packetConn) SetWriteBuffer(int) error { return nil }
