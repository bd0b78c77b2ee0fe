package kernellab

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// Cut drops everything between two public addresses at the core router, in both
// directions, until mend is called. What either has with others is not touched.
//
//	forward: ip saddr a ip daddr b drop
//	         ip saddr b ip daddr a drop
//
// There is one cut at a time.
func (l *Lab) Cut(a, b netip.Addr) (mend func()) {
	l.t.Helper()
	r, err := newRuleset(l.Core)
	if err != nil {
		l.t.Fatal(err)
	}
	forward := r.chain("forward", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter)
	r.rule(forward, between(a, b), drop)
	r.rule(forward, between(b, a), drop)
	if err := r.Flush(); err != nil {
		l.t.Fatalf("cut %v off from %v: nftables: %v", a, b, err)
	}
	return func() {
		l.t.Helper()
		r.DelTable(r.table)
		if err := r.Flush(); err != nil {
			l.t.Fatalf("mend what is between %v and %v: nftables: %v", a, b, err)
		}
	}
}

// between matches what goes from one address to another.
func between(from, to netip.Addr) []expr.Any {
	const saddr, daddr = 12, 16 // where the IPv4 header has them
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: saddr, Len: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: from.AsSlice()},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: daddr, Len: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: to.AsSlice()},
	}
}
