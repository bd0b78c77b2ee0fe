// Package icepion holds tests in which an agent of package ice meets agents of
// pion/ice, major versions 2 and 4, over sockets on 127.0.0.1: in both roles, over UDP,
// TCP and relays, with candidates at once and one by one, with restarts by either side.
package icepion
