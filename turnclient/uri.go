package turnclient

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// URI is a TURN server as RFC 7065 writes it.
type URI struct {
	Host    string // a name or an IP address, without brackets
	Port    uint16 // 0: none was given
	Secure  bool   // turns:
	Network string // of ?transport=, "udp" or "tcp"; "": none was given
}

// ParseURI parses "turn:HOST", "turns:HOST", "turn:HOST:PORT?transport=tcp" and the
// like. The error is a *ConfigError.
func ParseURI(s string) (URI, error) {
	if i := strings.LastIndexByte(s, '@'); i >= 0 { // what stands before it may be a secret
		return URI{}, &ConfigError{"Servers", fmt.Sprintf("a user stands before %q; name and password go into Username and Password, and the URI is turn:HOST:PORT", s[i:])}
	}
	form := "turn:HOST:PORT, or turns:HOST:PORT for TLS"
	fail := func(why string) (URI, error) {
		return URI{}, &ConfigError{"Servers", fmt.Sprintf("%q %s; write %s", s, why, form)}
	}
	scheme, rest, _ := strings.Cut(s, ":")
	scheme = strings.ToLower(scheme)
	if scheme != "turn" && scheme != "turns" {
		return fail("is no turn: or turns: URI")
	}
	if form = scheme + ":HOST:PORT"; strings.Contains(rest, "/") {
		return fail("has a slash, which is of other URIs")
	}
	u := URI{Secure: scheme == "turns"}
	rest, query, asked := strings.Cut(rest, "?")
	if asked {
		form += "?transport=udp or ?transport=tcp, or without ?"
		name, value, _ := strings.Cut(strings.ToLower(query), "=")
		switch {
		case name != "transport":
			return fail("has a parameter other than transport")
		case value != "udp" && value != "tcp":
			return fail("names an unknown transport") // RFC 5928 section 3
		}
		u.Network = value
		form = scheme + ":HOST:PORT?transport=" + value
	}
	host, port, hasPort := rest, "", false
	if strings.HasPrefix(rest, "[") {
		var closed bool
		if host, port, closed = strings.Cut(rest[1:], "]"); !closed || port != "" && port[0] != ':' {
			return fail("has a malformed host or port")
		}
		ip, err := netip.ParseAddr(host)
		if err != nil || !ip.Is6() {
			return fail("has no IPv6 address within the brackets")
		}
		hasPort = port != ""
		port = strings.TrimPrefix(port, ":")
	} else if ip, err := netip.ParseAddr(rest); err != nil || !ip.Is6() { // one without brackets is taken, too
		host, port, hasPort = strings.Cut(rest, ":")
	}
	if hasPort {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return fail("has a port outside 1 to 65535")
		}
		u.Port = uint16(n)
	}
	if ip, err := netip.ParseAddr(host); err == nil && !strings.ContainsAny(ip.Zone(), "[]") {
		host = ip.Unmap().String()
	} else if !validName(host) {
		return fail("has no host, or a malformed one")
	}
	u.Host = host
	return u, nil
}

// validName reports whether s can be a name in the DNS, with one that is given in
// Unicode in its ASCII form.
func validName(s string) bool {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		ok := label != "" && len(label) <= 63 && !strings.ContainsFunc(label, func(c rune) bool {
			return c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
		})
		if !ok {
			return false
		}
	}
	// Resolvers take "2130706433", "127.1" and "0x7f.1" for addresses.
	last := s[strings.LastIndexByte(s, '.')+1:]
	_, err := strconv.ParseUint(last, 0, 64)
	return err != nil
}

// String writes the URI out.
func (u URI) String() string {
	s := "turn:"
	if u.Secure {
		s = "turns:"
	}
	host := u.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if s += host; u.Port != 0 {
		s += ":" + strconv.Itoa(int(u.Port))
	}
	if u.Network != "" {
		s += "?transport=" + u.Network
	}
	return s
}

// isIP reports whether the host is an IP address.
func (u URI) isIP() bool {
	_, err := netip.ParseAddr(u.Host)
	return err == nil
}

// transports are those by which u's server may be reached, the best first (RFC 5928
// section 3, RFC 7350 section 4.6.2).
func (u URI) transports(dtls bool) []Transport {
	switch {
	case !u.Secure && u.Network == "udp":
		return []Transport{UDP}
	case !u.Secure && u.Network == "tcp":
		return []Transport{TCP}
	case !u.Secure:
		return []Transport{UDP, TCP}
	case u.Network == "tcp":
		return []Transport{TLS}
	case !dtls && u.Network == "udp":
		return nil
	case u.Network == "udp":
		return []Transport{DTLS}
	case !dtls:
		return []Transport{TLS}
	}
	return []Transport{DTLS, TLS}
}
