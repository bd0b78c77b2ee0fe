// Package ipcheck judges IP addresses that somebody else named: [Unusable] says
// what nothing may be sent to, [Public] what may be on the internet.
//
// It lies on the ground floor because a peer's addresses come to punch and to ice,
// and a server's to turnclient.
package ipcheck
