package icechromium_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"math/rand/v2"
	"slices"

	"github.com/pion/datachannel"
	"github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/crypto/fingerprint"
	"github.com/pion/dtls/v3/pkg/crypto/selfsign"
	dtlsnet "github.com/pion/dtls/v3/pkg/net"
	"github.com/pion/logging"
	"github.com/pion/sctp"

	"github.com/bradawl/bradawl/ice"
)

// certify makes the certificate that our descriptions have the fingerprint of.
func (m *meeting) certify() {
	m.t.Helper()
	var err error
	m.cert, err = selfsign.GenerateSelfSigned()
	check(m.t, err)
	leaf, err := x509.ParseCertificate(m.cert.Certificate[0])
	check(m.t, err)
	m.print, err = fingerprint.Fingerprint(leaf, crypto.SHA256)
	check(m.t, err)
}

// secure lays DTLS and SCTP over our path and opens a data channel, as RFC 8831 has it.
func (m *meeting) secure(conn *ice.Conn) {
	t := m.t
	t.Helper()
	// Not all of it knows contexts.
	stop := context.AfterFunc(m.ctx, func() { _ = conn.Close() })
	t.Cleanup(func() { stop() })
	secured, err := dtls.ServerWithOptions(dtlsnet.PacketConnFromConn(conn), conn.RemoteAddr(),
		dtls.WithCertificates(m.cert), dtls.WithClientAuth(dtls.RequireAnyClientCert), dtls.WithInsecureSkipVerify(true),
		dtls.WithSRTPProtectionProfiles(dtls.SRTP_AEAD_AES_128_GCM)) // Chromium insists
	check(t, err)
	if err := secured.HandshakeContext(m.ctx); err != nil {
		t.Fatalf("DTLS over %v: %v; our datagrams: %+v", m.o.Selected(), err, conn.Stats())
	}
	call[nothing](m.p, "states.until", "connected") // it has checked our fingerprint
	association, err := sctp.ClientWithOptions(sctp.WithNetConn(secured))
	check(t, err)
	t.Cleanup(func() { _ = association.Close() })
	cfg := &datachannel.Config{Label: "echo", LoggerFactory: logging.NewDefaultLoggerFactory()}
	if m.offers {
		m.channel, err = datachannel.Accept(association, cfg)
	} else {
		m.channel, err = datachannel.Dial(association, 1, cfg) // odd, for we are the server (RFC 8832 section 6)
	}
	check(t, err)
}

// messages is how many go to the page, and come back.
const messages = 1000

// echo checks that all messages come back as they were sent.
func (m *meeting) echo() {
	t := m.t
	t.Helper()
	r := rand.NewChaCha8([32]byte{})
	sent := make([][]byte, messages)
	for i := range sent {
		sent[i] = make([]byte, 1+r.Uint64()%1200)
		_, _ = r.Read(sent[i]) // never fails
	}
	failed := make(chan error, 1)
	go func() {
		for _, b := range sent {
			if _, err := m.channel.Write(b); err != nil {
				failed <- err
				return
			}
		}
		failed <- nil
	}()
	buf := make([]byte, 2000)
	for i, b := range sent {
		n, err := m.channel.Read(buf)
		if err == nil && !slices.Equal(buf[:n], b) {
			err = errors.New("not as it was sent")
		}
		if err != nil {
			t.Fatalf("message %d of %d: %v", i, messages, err)
		}
	}
	check(t, <-failed)
}
