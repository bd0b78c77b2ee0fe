package main

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/bradawl/bradawl/examples/internal/cli"
	"github.com/bradawl/bradawl/internal/netio"
	"github.com/bradawl/bradawl/punch/rendezvous"
)

// envSecret may hold what -turn-secret gives.
const envSecret = "BRADAWL_TURN_SECRET"

// mostClients is how many clients the rendezvous takes from all addresses.
const mostClients = 1 << 16

// config is what the flags say.
type config struct {
	hosts []host // the IPv4 one first
	name  string // "" or what clients dial

	// 0: any that is free, which the first host decides for all
	httpPort, stunPort, stunPort2, turnPort, turnsPort int

	maxClients int // of one address
	relayPorts netio.PortRange
	maxRelays  int
	maxSource  int // relays of one address
	secret     string
	lifetime   time.Duration // of credentials
	cert       *tls.Certificate

	open    bool
	drain   time.Duration
	json    bool
	verbose bool
}

// host is an address of this machine.
type host struct {
	ip     netip.Addr // to listen on
	second netip.Addr // for RFC 5780; not valid: there is none
	public netip.Addr // where clients reach ip
}

const usage = `usage: server [flags]

A rendezvous, a STUN server and a TURN server in one program.

examples:
  server
        to try things out on this machine: rendezvous at ws://127.0.0.1:8080/
  server -listen 203.0.113.5 -listen2 203.0.113.6
        on the internet, with NAT detection, which takes two addresses
  server -listen 203.0.113.5,2001:db8::5 -name meet.example:8443 -http-port 8443 -tls-cert cert.pem -tls-key key.pem
        with IPv6 and TLS: rendezvous at wss://meet.example:8443/
  server -listen 10.0.0.5 -public 203.0.113.5
        where the provider maps a public address to a private one
  server -listen 0.0.0.0 -public 203.0.113.5 -log json
        in a container with the host's network

exit codes: 0 after a signal, 1 if it could not start or failed, 2 if the arguments are wrong
`

// parse reads the arguments. The error is flag.ErrHelp when help was asked for and given.
func parse(args []string, getenv func(string) string, help io.Writer) (*config, error) {
	c := new(config)
	flags := flag.NewFlagSet("server", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1", "`IP[,IP]` of this host to listen on: an IPv4 address and, if wanted, an IPv6 one")
	listen2 := flags.String("listen2", "", "second `IP` of this host, by which clients find out what their NAT does (RFC 5780)")
	public := flags.String("public", "", "`IP[,IP]` that clients reach the addresses of -listen by; default: those themselves")
	flags.StringVar(&c.name, "name", "", "`HOST[:PORT]` that clients dial, without the port if it is the scheme's own: proofs for any other server are refused, and STUN and TURN are handed out by HOST")
	ports := []struct {
		name string
		to   *int
		def  int
		what string
	}{
		{"http-port", &c.httpPort, 8080, "TCP `port` of the rendezvous and /healthz"},
		{"stun-port", &c.stunPort, 3478, "UDP and TCP `port` of the STUN server"},
		{"stun-port2", &c.stunPort2, 3479, "second `port` of the STUN server"},
		{"turn-port", &c.turnPort, 3480, "UDP and TCP `port` of the TURN server"},
		{"turns-port", &c.turnsPort, 5349, "TCP `port` of the TURN server for TLS, with -tls-cert"},
	}
	for _, p := range ports {
		flags.IntVar(p.to, p.name, p.def, p.what+"; 0: any that is free")
	}
	flags.IntVar(&c.maxClients, "max-clients-per-address", 256, "`number` of clients that one IPv4 address or IPv6 /64 has at most; they may be in twice as many rooms. Behind a proxy all clients have the proxy's")
	relayPorts := flags.String("relay-ports", "49152-65535", "`LOW-HIGH`, the UDP ports of relayed addresses")
	flags.IntVar(&c.maxRelays, "max-relays", 4096, "`number` of relays that there are at most")
	flags.IntVar(&c.maxSource, "max-relays-per-address", 32, "`number` of relays that one IPv4 address or IPv6 /64 has at most")
	certFile := flags.String("tls-cert", "", "PEM `file` with the certificate chain; with -tls-key and -name")
	keyFile := flags.String("tls-key", "", "PEM `file` with the certificate's key")
	flags.StringVar(&c.secret, "turn-secret", "", "the `SECRET` that other such servers share; default: $"+envSecret+", else one of its own")
	flags.DurationVar(&c.lifetime, "turn-lifetime", time.Hour, "how long TURN credentials are good for; at least 1m")
	flags.BoolVar(&c.open, "open", false, "admit clients without a proof of their key, to rooms alone and without relays")
	flags.DurationVar(&c.drain, "drain", 20*time.Second, "how long clients and relays have to go after SIGINT or SIGTERM")
	format := flags.String("log", "text", "`FORMAT` of the log: text or json")
	flags.BoolVar(&c.verbose, "v", false, "log every client and relay")
	if err := cli.Parse(flags, args, help, usage, false); err != nil {
		return nil, err
	}
	given := make(map[string]bool)
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })

	var err error
	if c.hosts, err = parseHosts(*listen, *listen2, *public); err != nil {
		return nil, err
	}
	if (rendezvous.ServerConfig{Name: c.name}).Check() != nil {
		return nil, fmt.Errorf("-name %q is no host; give HOST or HOST:PORT, as clients dial it", c.name)
	}
	for _, p := range ports {
		if *p.to < 0 || *p.to > 65535 {
			return nil, fmt.Errorf("-%s %d is out of range; give 0 to 65535", p.name, *p.to)
		}
		for _, q := range ports {
			if p.name < q.name && *p.to == *q.to && *p.to != 0 {
				return nil, fmt.Errorf("-%s and -%s are both %d; give different ports", p.name, q.name, *p.to)
			}
		}
	}
	if c.relayPorts, err = netio.ParsePortRange(*relayPorts); err != nil {
		return nil, fmt.Errorf("-relay-ports: %w", err)
	}
	switch {
	case c.maxClients < 1 || c.maxClients > mostClients:
		return nil, fmt.Errorf("-max-clients-per-address %d is out of range; give 1 to %d", c.maxClients, mostClients)
	case c.maxRelays < 1:
		return nil, fmt.Errorf("-max-relays %d is out of range; give at least 1", c.maxRelays)
	case c.maxSource < 1:
		return nil, fmt.Errorf("-max-relays-per-address %d is out of range; give at least 1", c.maxSource)
	case c.lifetime < time.Minute:
		return nil, fmt.Errorf("-turn-lifetime %v is too short; give at least 1m", c.lifetime)
	case c.drain < 0:
		return nil, fmt.Errorf("-drain %v is out of range; give 0 or more", c.drain)
	case *format != "text" && *format != "json":
		return nil, fmt.Errorf("-log %q is not known; give text or json", *format)
	case (*certFile == "") != (*keyFile == ""):
		return nil, errors.New("-tls-cert and -tls-key go together; give both or neither")
	case given["turns-port"] && c.turnsPort != 0 && *certFile == "":
		return nil, fmt.Errorf("-turns-port %d: TURN over TLS needs a certificate; give -tls-cert, -tls-key and -name", c.turnsPort)
	case *certFile != "" && c.name == "":
		return nil, errors.New("-tls-cert without -name: clients hold the certificate against a name; give the host's")
	}
	c.json = *format == "json"
	if *certFile != "" {
		cert, err := tls.LoadX509KeyPair(*certFile, *keyFile)
		if err != nil {
			return nil, fmt.Errorf("-tls-cert %s, -tls-key %s: %w", *certFile, *keyFile, err)
		}
		c.cert = &cert
	}
	if c.secret == "" {
		c.secret = getenv(envSecret)
	}
	if c.secret == "" {
		c.secret = rand.Text()
	}
	return c, nil
}

// parseHosts reads -listen, -listen2 and -public.
func parseHosts(listen, listen2, public string) ([]host, error) {
	byFamily, err := parseIPs("listen", listen)
	if err != nil {
		return nil, err
	}
	shown, err := parseIPs("public", public)
	if err != nil {
		return nil, err
	}
	if !byFamily[0].IsValid() {
		return nil, fmt.Errorf("-listen %q has no IPv4 address, and relayed addresses are IPv4; give one", listen)
	}
	var hosts []host
	for i, ip := range byFamily {
		switch h := (host{ip: ip, public: shown[i]}); {
		case !ip.IsValid() && h.public.IsValid():
			return nil, fmt.Errorf("-public %v has no address of its family in -listen; give one there", h.public)
		case !ip.IsValid():
		case ip.IsUnspecified() && !h.public.IsValid():
			return nil, fmt.Errorf("-listen %v is all of this host's addresses, and clients must be told one; give it by -public", ip)
		case h.public.IsUnspecified():
			return nil, fmt.Errorf("-public %v is no address that clients can reach; give one", h.public)
		default:
			if !h.public.IsValid() {
				h.public = ip
			}
			hosts = append(hosts, h)
		}
	}
	if listen2 == "" {
		return hosts, nil
	}
	second, err := netip.ParseAddr(listen2)
	if err != nil {
		return nil, fmt.Errorf("-listen2 %q is no IP address; give one of this host", listen2)
	}
	second = second.Unmap()
	for i := range hosts {
		h := &hosts[i]
		switch {
		case h.ip.Is4() != second.Is4():
		case h.ip == second || h.ip.IsUnspecified() || second.IsUnspecified():
			return nil, fmt.Errorf("-listen2 %v beside -listen %v: clients are told both; give two addresses that are not the same", second, h.ip)
		case h.ip != h.public:
			return nil, fmt.Errorf("-listen2 %v: clients are told that address itself, and would not reach it behind -public %v; leave one of them out", second, h.public)
		default:
			h.second = second
			return hosts, nil
		}
	}
	return nil, fmt.Errorf("-listen2 %v has no address of its family in -listen; give one there", second)
}

// parseIPs reads at most one address of each family, IPv4 first; one that is missing is
// not valid.
func parseIPs(flag, list string) (byFamily [2]netip.Addr, err error) {
	if list == "" {
		return byFamily, nil
	}
	for text := range strings.SplitSeq(list, ",") {
		ip, err := netip.ParseAddr(text)
		if err != nil || ip.Zone() != "" || ip.IsMulticast() {
			return byFamily, fmt.Errorf("-%s %q is no IP address of a host; give one, or an IPv4 and an IPv6 address with a comma between", flag, text)
		}
		ip = ip.Unmap()
		of := &byFamily[0]
		if ip.Is6() {
			of = &byFamily[1]
		}
		if of.IsValid() {
			return byFamily, fmt.Errorf("-%s %q has two addresses of one family; give at most one of each", flag, list)
		}
		*of = ip
	}
	return byFamily, nil
}

// advertised returns the hosts that STUN and TURN are handed out by, as URIs have them.
func (c *config) advertised() []string {
	if c.name != "" {
		host := c.name
		if colon := strings.LastIndexByte(host, ':'); colon > strings.LastIndexByte(host, ']') {
			host = host[:colon]
		}
		return []string{host}
	}
	var all []string
	for _, h := range c.hosts {
		host := h.public.String()
		if h.public.Is6() {
			host = "[" + host + "]"
		}
		all = append(all, host)
	}
	return all
}
