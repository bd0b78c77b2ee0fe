package dashboard

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// policy is what the page may do: run our scripts, look as our styles say, and talk to where
// it came from. Nothing that is written into it can run, or be sent elsewhere.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"

// harden sets what every answer has.
func harden(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	h.Set("Cache-Control", "no-cache")
}

// hostName returns the host of a Host header in lower case, without port and brackets.
func hostName(host string) (string, bool) {
	name := host
	if h, port, err := net.SplitHostPort(host); err == nil {
		if strings.Trim(port, "0123456789") != "" {
			return "", false
		}
		name = h
	} else {
		name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	}
	if a, err := netip.ParseAddr(name); err == nil {
		return a.Unmap().String(), true
	}
	name = strings.ToLower(name)
	return name, name != "" && len(name) <= 253 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-._") == ""
}

func isLoopback(name string) bool {
	a, err := netip.ParseAddr(name)
	return name == "localhost" || err == nil && a.IsLoopback()
}

// refusal says why a request is refused; "": it is not. A page of somebody else's that makes
// a browser call us by a name of its own (DNS rebinding) has the wrong Host, and one that
// calls us by ours the wrong Origin.
func (d *Dashboard) refusal(r *http.Request) string {
	name, ok := hostName(r.Host)
	if !ok || !isLoopback(name) && !d.set.hosts[name] {
		return "this is not a name that I go by; Config.Hosts lists those"
	}
	origins := r.Header.Values("Origin")
	if len(origins) == 0 {
		return ""
	}
	u, err := url.Parse(origins[0])
	if err != nil || len(origins) > 1 || u.Scheme != "http" && u.Scheme != "https" || !strings.EqualFold(u.Host, r.Host) {
		return "requests of pages from elsewhere are refused"
	}
	return ""
}

// mayReport reports whether a request has a token, or needs none.
func (d *Dashboard) mayReport(r *http.Request) bool {
	if d.set.Open {
		name, _ := hostName(r.Host)
		if isLoopback(name) && remoteAddr(r).IsLoopback() && d.set.Addr(r).IsLoopback() {
			return true
		}
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return false
	}
	// Sums are compared, which are of one length, and all of them, so that the time that it
	// takes tells nothing.
	sum, ok := sha256.Sum256([]byte(strings.TrimSpace(token))), 0
	for i := range d.set.tokens {
		ok |= subtle.ConstantTimeCompare(sum[:], d.set.tokens[i][:])
	}
	return ok == 1
}

// remoteAddr is where the connection of a request comes from.
func remoteAddr(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}
