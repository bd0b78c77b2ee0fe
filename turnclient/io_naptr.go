package turnclient

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// NAPTR is one record of that type (RFC 3403 section 4.1).
type NAPTR struct {
	Order, Preference uint16 // the lowest first, Order before Preference
	Flags             string // "S", "A" or "" here
	Service           string // "RELAY:turn.udp:turn.tcp" and the like
	Regexp            string // empty here
	Replacement       string // the name that follows
}

// tags are the application protocol tags (RFC 5928 section 6, RFC 7350 section 6.1), in
// the order in which the transports are preferred where the records leave it open:
// datagrams first, and fewer round trips.
var tags = []struct {
	transport Transport
	tag       string
}{{UDP, "turn.udp"}, {DTLS, "turn.dtls"}, {TCP, "turn.tcp"}, {TLS, "turn.tls"}}

// has reports whether the record is about TURN over t.
func (r NAPTR) has(t Transport) bool {
	service, protocols, _ := strings.Cut(r.Service, ":")
	if !strings.EqualFold(service, "RELAY") || r.Regexp != "" || !validName(r.Replacement) {
		return false
	}
	switch strings.ToUpper(r.Flags) {
	case "", "S", "A":
	default:
		return false
	}
	for tag := range strings.SplitSeq(protocols, ":") {
		for _, k := range tags {
			if k.transport == t && strings.EqualFold(tag, k.tag) {
				return true
			}
		}
	}
	return false
}

var errNAPTRLoop = errors.New("its NAPTR records go round in a circle")

// naptr finds the servers by S-NAPTR (RFC 5928 section 3 step 4, RFC 3958). Without an
// error there may be none: then the domain has no such records.
func (l *lookup) naptr(ctx context.Context, r NAPTRResolver, transports []Transport) ([]Endpoint, error) {
	records := l.records(l.patient, r, l.uri.Host)
	s := &snaptr{lookup: l, resolver: r, queries: maxQueries}
	var all []Endpoint
	used := false
	for len(records) > 0 {
		// The records of one rank, transport by transport.
		rank := 1
		for rank < len(records) && records[rank].Order == records[0].Order && records[rank].Preference == records[0].Preference {
			rank++
		}
		for _, k := range tags {
			if !l.uses(k.transport, transports) {
				continue
			}
			for _, record := range records[:rank] {
				if record.has(k.transport) {
					used = true
					all = append(all, s.walk(ctx, record, k.transport, []string{canonical(l.uri.Host)})...)
				}
			}
		}
		records = records[rank:]
	}
	switch {
	case len(all) > 0 || !used:
		return all, nil
	case s.err == nil:
		return nil, fmt.Errorf("the NAPTR records of %s lead to no server", l.uri.Host)
	}
	return nil, fmt.Errorf("the NAPTR records of %s lead to no server: %w", l.uri.Host, s.err)
}

// uses reports whether t is wanted: with turn: the domain may also offer what is secure.
func (l *lookup) uses(t Transport, transports []Transport) bool {
	if !l.uri.Secure && (t == TLS || t == DTLS && l.cfg.DTLS != nil) {
		return l.cfg.Proxy == nil || t == DTLS
	}
	return slices.Contains(transports, t)
}

// records returns the NAPTR records of a name, in order.
func (l *lookup) records(ctx context.Context, r NAPTRResolver, name string) []NAPTR {
	records, err := r.LookupNAPTR(ctx, name)
	if err != nil {
		return nil
	}
	records = slices.Clone(records)
	slices.SortStableFunc(records, func(a, b NAPTR) int {
		return cmp.Or(cmp.Compare(a.Order, b.Order), cmp.Compare(a.Preference, b.Preference))
	})
	return records
}

// snaptr is a walk along NAPTR records.
type snaptr struct {
	*lookup
	resolver NAPTRResolver
	queries  int   // that may still be asked
	err      error // the first
}

func (s *snaptr) fail(err error) []Endpoint {
	if s.err == nil {
		s.err = err
	}
	return nil
}

// walk returns where a record leads to for one transport. seen are the names on the way.
func (s *snaptr) walk(ctx context.Context, r NAPTR, t Transport, seen []string) (all []Endpoint) {
	name := canonical(r.Replacement)
	if s.queries == 0 {
		return s.fail(fmt.Errorf("they need more than %d queries", maxQueries))
	}
	s.queries--
	switch strings.ToUpper(r.Flags) {
	case "S":
		_, records, err := s.cfg.Resolver.LookupSRV(ctx, "", "", r.Replacement)
		if len(records) > 0 { // even with an error
			records, err = s.order(records)
		}
		if err == nil && len(records) == 0 {
			err = fmt.Errorf("%s has no SRV records that can be used", name)
		}
		if err == nil {
			all, err = s.follow(ctx, records, t)
		}
		if err != nil {
			return s.fail(err)
		}
	case "A":
		ips, err := s.host(ctx, r.Replacement)
		if err != nil {
			return s.fail(err)
		}
		all = at(ips, 0, []Transport{t}, s.uri.Host)
	default:
		if slices.Contains(seen, name) {
			return s.fail(errNAPTRLoop)
		}
		for _, next := range s.records(ctx, s.resolver, r.Replacement) {
			if next.has(t) {
				all = append(all, s.walk(ctx, next, t, append(slices.Clone(seen), name))...)
			}
		}
		if len(all) == 0 {
			return s.fail(fmt.Errorf("%s has no NAPTR records for %v", name, t))
		}
	}
	return all
}

// canonical is a name as it is compared.
func canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
