package ice

import (
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/decay"
)

// History remembers which remote addresses could be reached from which local network.
// [MemoryHistory] is the usual one; an application that keeps statistics brings its own.
//
// What happened fades by a factor of 0.92 an hour and is forgotten after 24 hours. The
// agent tells its peer only what all of a network's outcomes are worth together, as a
// part of the candidates' priorities; what is known of one address orders our own work.
//
// The agent calls it on its loop: methods must not block, and must be safe for several
// goroutines.
type History interface {
	// Record notes that a path from a local network to a remote address worked, or that
	// it did not. network names the local network and is opaque, as [InterfaceInfo] has
	// it; where it is empty or remote is not valid, nothing is kept.
	Record(network string, remote netip.Addr, ok bool, at time.Time)

	// Quality returns how likely a path from the network to the address works, 0 to 1;
	// for an address that is not valid, the mean over the network's addresses. known is
	// false where nothing is remembered.
	Quality(network string, remote netip.Addr, now time.Time) (value float64, known bool)
}

// What a MemoryHistory holds at most, 1 MiB in all. What had an outcome last stays.
const (
	MaxHistoryNetworks = 32  // networks
	MaxHistoryRemotes  = 256 // remote addresses of each network
)

// outcomes is the state of a MemoryHistory. Lists and not maps hold it, those with the
// latest outcome last, so that sums and evictions are the same in every run.
type outcomes struct {
	networks []networkOutcomes
}

type networkOutcomes struct {
	name    string
	remotes []remoteOutcomes
}

type remoteOutcomes struct {
	addr  netip.Addr
	tally decay.Tally
}

func (n networkOutcomes) key() string    { return n.name }
func (r remoteOutcomes) key() netip.Addr { return r.addr }

func (o *outcomes) record(network string, remote netip.Addr, ok bool, at time.Time) {
	remote = plain(remote)
	if network == "" || !remote.IsValid() {
		return
	}
	var n *networkOutcomes
	o.networks, n = touch(o.networks, networkOutcomes{name: network}, MaxHistoryNetworks)
	var r *remoteOutcomes
	n.remotes, r = touch(n.remotes, remoteOutcomes{addr: remote}, MaxHistoryRemotes)
	r.tally.Add(ok, at)
}

func (o *outcomes) quality(network string, remote netip.Addr, now time.Time) (float64, bool) {
	remote = plain(remote)
	sum, known := 0.0, 0
	for i := range o.networks {
		if o.networks[i].name != network {
			continue
		}
		// The mean is over addresses and not over outcomes, so that one peer that fails again
		// and again does not ruin the name of a network.
		for j := range o.networks[i].remotes {
			r := &o.networks[i].remotes[j]
			if remote.IsValid() && r.addr != remote {
				continue
			}
			if value, ok := decay.Quality(r.tally.Sum(now)); ok {
				sum += value
				known++
			}
		}
	}
	if known == 0 {
		return decay.Neutral, false
	}
	return sum / float64(known), true
}

func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// touch moves the element of list with fresh's key to the end, where it returns it. If
// there is none it appends fresh, in place of the first element where the list is full.
func touch[K comparable, T interface{ key() K }](list []T, fresh T, limit int) ([]T, *T) {
	i := slices.IndexFunc(list, func(t T) bool { return t.key() == fresh.key() })
	switch {
	case i >= 0:
		fresh = list[i]
	case len(list) >= limit:
		i = 0
	default:
		list = append(list, fresh)
		i = len(list) - 1
	}
	copy(list[i:], list[i+1:])
	list[len(list)-1] = fresh
	return list, &list[len(list)-1]
}
