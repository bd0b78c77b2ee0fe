package turnclient

import (
	"cmp"
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
)

// order returns the records that can be followed, in the order in which to do so. None
// may be left.
func (l *lookup) order(records []*net.SRV) ([]*net.SRV, error) {
	if len(records) == 1 && records[0] != nil && records[0].Target == "." {
		return nil, errNoService
	}
	records = slices.DeleteFunc(slices.Clone(records), func(r *net.SRV) bool { return r == nil || r.Port == 0 || !validName(r.Target) })
	records = bySRV(records, l.random)
	return records[:min(len(records), maxTargets)], nil
}

// follow follows SRV records, for servers that are reached over t.
func (l *lookup) follow(ctx context.Context, records []*net.SRV, t Transport) (all []Endpoint, err error) {
	ips := make([][]netip.Addr, len(records))
	errs := make([]error, len(records))
	var wg sync.WaitGroup
	for i, r := range records {
		wg.Go(func() { ips[i], errs[i] = l.host(ctx, r.Target) })
	}
	wg.Wait()
	for i, r := range records {
		// The certificate must be for the URI's host: the DNS could name any other
		// (RFC 5928 section 5).
		all = append(all, at(ips[i], r.Port, []Transport{t}, l.uri.Host)...)
	}
	if len(all) > 0 {
		return all[:min(len(all), maxOfKind)], nil
	}
	return nil, firstOf(errs)
}

// bySRV returns records in the order in which they are to be tried: by priority, and
// within one at random by weight (RFC 2782).
func bySRV(records []*net.SRV, random *rand.Rand) []*net.SRV {
	records = slices.Clone(records)
	slices.SortStableFunc(records, func(a, b *net.SRV) int {
		// Those without weight come first, so that they have a small chance.
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(min(a.Weight, 1), min(b.Weight, 1)))
	})
	for i := range records {
		same := i
		sum := 0
		for same < len(records) && records[same].Priority == records[i].Priority {
			sum += int(records[same].Weight)
			same++
		}
		least := random.IntN(sum + 1)
		running := 0
		for j := i; j < same; j++ {
			if running += int(records[j].Weight); running >= least {
				chosen := records[j]
				copy(records[i+1:j+1], records[i:j])
				records[i] = chosen
				break
			}
		}
	}
	return records
}
