package turnclient_test

import (
	"context"
	"net"
	"net/netip"
	"sync"

	"github.com/bradawl/bradawl/turnclient"
)

// dns is a Resolver of a test's own.
type dns struct {
	addrs map[string][]string
	srv   map[string][]*net.SRV
	err   error // of every lookup

	mu    sync.Mutex
	asked []string // guarded by mu
}

func (d *dns) note(what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, what)
}

// missing is what there is no record of.
func (d *dns) missing(name string) error {
	if d.err != nil {
		return d.err
	}
	return &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

func (d *dns) LookupNetIP(_ context.Context, _, host string) (ips []netip.Addr, err error) {
	d.note("A " + host)
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.addrs[host] {
		ips = append(ips, netip.MustParseAddr(s))
	}
	if len(ips) == 0 {
		return nil, d.missing(host)
	}
	return ips, nil
}

func (d *dns) LookupSRV(_ context.Context, service, proto, name string) (string, []*net.SRV, error) {
	if service != "" {
		name = "_" + service + "._" + proto + "." + name
	}
	d.note("SRV " + name)
	if records := d.srv[name]; len(records) > 0 {
		return name, records, nil
	}
	return "", nil, d.missing(name)
}

// naptrDNS also knows NAPTR records.
type naptrDNS struct {
	dns
	naptr map[string][]turnclient.NAPTR
}

func (d *naptrDNS) LookupNAPTR(_ context.Context, name string) ([]turnclient.NAPTR, error) {
	d.note("NAPTR " + name)
	if records := d.naptr[name]; len(records) > 0 {
		return records, nil
	}
	return nil, d.missing(name)
}
