package main

import (
	"strings"

	"github.com/bradawl/bradawl/natprobe"
)

// typeWords say what a type means for whom it concerns.
var typeWords = map[natprobe.Type]string{
	natprobe.TypeUnknown:            "What lies between this host and the internet could not be told.",
	natprobe.TypeOpen:               "This host has a public address and nothing filters it: anyone can send to it at any time.",
	natprobe.TypeSymmetricFirewall:  "This host has a public address behind a firewall: only answers to what it sent come in, so both sides of a connection must send.",
	natprobe.TypeFullCone:           "Every socket has one outside port, and whoever knows it can send to it.",
	natprobe.TypeRestrictedCone:     "Every socket has one outside port, open to every address that it has sent to.",
	natprobe.TypePortRestrictedCone: "Every socket has one outside port, open only to the very address and port that it has sent to. That is enough where both sides send.",
	natprobe.TypeSymmetric:          "Each destination sees another outside port, so what a server sees is of no use to a peer. Ports must be foretold, or found by trying.",
	natprobe.TypeUDPBlocked:         "No UDP gets out or in. What is left is TCP, or a relay over TCP or TLS.",
}

// typeOf is the type as a title and what it means; of one that is not known, what is.
func typeOf(r *natprobe.Report) (title, meaning string) {
	if r.Type == natprobe.TypeUnknown {
		switch {
		case r.NAT == natprobe.No:
			return "No NAT; whether there is a firewall is not known", "This host has a public address. Who may send to it was not found out."
		case r.NAT == natprobe.Yes && r.Mapping == natprobe.MappingEndpointIndependent:
			return "A cone NAT; its filtering is not known", "Every socket has one outside port. Who may send to it was not found out."
		case r.NAT == natprobe.Yes:
			return "A NAT of a kind that is not known", "There is a NAT. How it maps was not found out."
		}
	}
	return capital(r.Type.Title()), typeWords[r.Type]
}

// typeState is what a type means for getting through.
func typeState(t natprobe.Type) state {
	switch t {
	case natprobe.TypeUnknown:
		return unknown
	case natprobe.TypeSymmetric:
		return partly
	case natprobe.TypeUDPBlocked:
		return bad
	}
	return good
}

func mappingWords(r *natprobe.Report) string {
	least := ""
	if r.MappingLeast {
		least = ", perhaps for each port too"
	}
	switch r.Mapping {
	case natprobe.MappingEndpointIndependent:
		return "One outside port for all destinations"
	case natprobe.MappingAddressDependent:
		return "Another outside port for each address" + least
	case natprobe.MappingAddressAndPortDependent:
		return "Another outside port for each address and port"
	}
	return "Not known"
}

func filteringWords(f natprobe.Filtering) string {
	switch f {
	case natprobe.FilteringEndpointIndependent:
		return "Anyone may send in"
	case natprobe.FilteringAddressDependent:
		return "Addresses that were sent to may send in"
	case natprobe.FilteringAddressAndPortDependent:
		return "Only the very address and port that was sent to may send in"
	}
	return "Not known"
}

// trait is one more thing about the way out.
type trait struct {
	about, name string
	yes, no     string // what the verdicts mean
	harm        natprobe.Verdict
	absent      string // why there is no conclusion about it
}

var traits = []trait{
	{"hairpin", "Hairpin", "hosts behind it reach each other by outside addresses", "hosts behind it do not reach each other by outside addresses", natprobe.No, "it was not tested"},
	{"paired", "Address pooling", "all sockets share one outside address", "sockets get different outside addresses", natprobe.No, "too few sockets were seen, or there is no NAT"},
	{"nested", "Several NATs", "there is more than one in a row", "there is one only", natprobe.Yes, "no sign of a second one was seen, which does not say that there is none"},
	{"alg", "Rewriting (ALG)", "something changes addresses inside of packets", "packets are left alone", natprobe.Yes, "no server told its answer in two forms, or there is no NAT"},
	{"fragments", "Fragments", "packets too long for one piece get through", "packets too long for one piece get lost", natprobe.No, "not looked at; add -fragments"},
}

func verdictOf(r *natprobe.Report, about string) natprobe.Verdict {
	switch about {
	case "hairpin":
		return r.Hairpin
	case "paired":
		return r.Paired
	case "nested":
		return r.Nested
	case "alg":
		return r.ALG
	}
	return r.Fragments
}

// fact is a trait as it was found.
type fact struct {
	State               state
	Name, Says, Because string
}

// facts lists the traits, and TCP and IPv6 as far as they have no card of their own.
func facts(r *natprobe.Report, other string) []fact {
	var all []fact
	for _, t := range traits {
		f := fact{unknown, t.name, "not known", t.absent}
		switch v := verdictOf(r, t.about); {
		case v == natprobe.VerdictUnknown:
		case v == t.harm:
			f.State = bad
		default:
			f.State = good
		}
		switch verdictOf(r, t.about) {
		case natprobe.Yes:
			f.Says = t.yes
		case natprobe.No:
			f.Says = t.no
		}
		if c, ok := r.Conclusion(t.about); ok {
			f.Because = c.Because
		}
		all = append(all, f)
	}
	tcp := fact{unknown, "TCP", "not known", "not looked at; add -tcp"}
	if t := r.TCP; t != nil {
		tcp.Because = t.Because
		switch t.Mapping {
		case natprobe.MappingUnknown:
		case natprobe.MappingEndpointIndependent:
			tcp.State, tcp.Says = good, "one outside port for all destinations"
		default:
			tcp.State, tcp.Says = partly, "another outside port for each "+strings.TrimSuffix(strings.ReplaceAll(t.Mapping.String(), "_", " "), " dependent")
		}
		switch t.Preserving {
		case natprobe.Yes:
			tcp.Says += "; the inside port is kept"
		case natprobe.No:
			tcp.Says += "; the inside port is not kept"
		}
	}
	all = append(all, tcp)
	if r.Lifetime == nil {
		all = append(all, fact{unknown, "Lifetime", "not known", "not measured; add -lifetime, which takes some minutes"})
	}
	if other != "" {
		all = append(all, fact{unknown, other, "not known", "not looked at, or this host or the servers have none; see -network"})
	}
	return all
}
