package dtlstransport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/crypto/elliptic"

	"github.com/bradawl/bradawl/internal/plog"
)

// suites are those with forward secrecy and authenticated encryption. RFC 7350 section 3
// also names a DHE suite, which the library does not have.
var suites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
}

var curves = []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384}

// clientOptions says what cfg says in the library's words.
func clientOptions(cfg *tls.Config) ([]dtls.ClientOption, error) {
	switch {
	case cfg == nil || cfg.ServerName == "" && !cfg.InsecureSkipVerify:
		return nil, errors.New("no name to hold the certificate against; set ServerName")
	case cfg.MinVersion > tls.VersionTLS12, cfg.MaxVersion != 0 && cfg.MaxVersion < tls.VersionTLS12:
		return nil, errors.New("DTLS 1.2 is all there is; let MinVersion and MaxVersion allow tls.VersionTLS12")
	case cfg.GetClientCertificate != nil:
		return nil, errors.New("GetClientCertificate is not supported; use Certificates")
	case cfg.EncryptedClientHelloConfigList != nil:
		return nil, errors.New("DTLS 1.2 does not encrypt the ClientHello; leave EncryptedClientHelloConfigList empty")
	}
	use, err := choose("CipherSuites", cfg.CipherSuites, suites)
	if err != nil {
		return nil, err
	}
	on, err := choose("CurvePreferences", cfg.CurvePreferences, curves)
	if err != nil {
		return nil, err
	}
	v := &verifier{cfg: cfg}
	options := []dtls.ClientOption{
		dtls.WithLoggerFactory(plog.OrDiscard(nil)),
		dtls.WithFlightInterval(flightInterval),
		dtls.WithCipherSuites(each[dtls.CipherSuiteID](use)...),
		dtls.WithEllipticCurves(each[elliptic.Curve](on)...),
		dtls.WithServerName(cfg.ServerName),
		// The library's own check passes over a name that is an IP address. Ours does not.
		dtls.WithInsecureSkipVerify(true),
		dtls.WithVerifyPeerCertificate(v.certificate),
		dtls.WithVerifyConnection(v.connection),
	}
	if len(cfg.Certificates) > 0 {
		options = append(options, dtls.WithCertificates(cfg.Certificates...))
	}
	if len(cfg.NextProtos) > 0 {
		options = append(options, dtls.WithSupportedProtocols(cfg.NextProtos...))
	}
	if cfg.KeyLogWriter != nil {
		options = append(options, dtls.WithKeyLogWriter(cfg.KeyLogWriter))
	}
	return options, nil
}

// choose returns what is both wanted and known, in the order of what is known.
func choose[T comparable](field string, wanted, known []T) ([]T, error) {
	if len(wanted) == 0 {
		return known, nil
	}
	both := slices.DeleteFunc(slices.Clone(known), func(k T) bool { return !slices.Contains(wanted, k) })
	if len(both) == 0 {
		return nil, fmt.Errorf("%s has none of those that are known here: %v", field, known)
	}
	return both, nil
}

func each[To, From ~uint16](all []From) []To {
	to := make([]To, len(all))
	for i, n := range all {
		to[i] = To(n)
	}
	return to
}

// verifier decides about a server's certificate as crypto/tls does.
type verifier struct {
	cfg    *tls.Config
	certs  []*x509.Certificate
	chains [][]*x509.Certificate
}

// certificate checks the chain and the name.
func (v *verifier) certificate(raw [][]byte, _ [][]*x509.Certificate) error {
	v.certs, v.chains = nil, nil
	for _, der := range raw {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Errorf("the server's certificate cannot be read: %w", err)
		}
		v.certs = append(v.certs, c)
	}
	if len(v.certs) == 0 {
		return errNoCertificate
	}
	if !v.cfg.InsecureSkipVerify {
		o := x509.VerifyOptions{Roots: v.cfg.RootCAs, DNSName: v.cfg.ServerName, CurrentTime: time.Now(), Intermediates: x509.NewCertPool()}
		if v.cfg.Time != nil {
			o.CurrentTime = v.cfg.Time()
		}
		for _, c := range v.certs[1:] {
			o.Intermediates.AddCert(c)
		}
		var err error
		if v.chains, err = v.certs[0].Verify(o); err != nil {
			return &tls.CertificateVerificationError{UnverifiedCertificates: v.certs, Err: err}
		}
	}
	if v.cfg.VerifyPeerCertificate != nil {
		return v.cfg.VerifyPeerCertificate(raw, v.chains)
	}
	return nil
}

var errNoCertificate = errors.New("the server showed no certificate")

// connection is called last, whatever the server's messages were.
func (v *verifier) connection(s *dtls.State) error {
	switch {
	case len(v.certs) == 0:
		return errNoCertificate
	case v.cfg.VerifyConnection == nil:
		return nil
	}
	return v.cfg.VerifyConnection(tls.ConnectionState{
		Version: dtls.VersionDTLS12, CipherSuite: uint16(s.CipherSuiteID), ServerName: v.cfg.ServerName,
		NegotiatedProtocol: s.NegotiatedProtocol, PeerCertificates: v.certs, VerifiedChains: v.chains,
	})
}
