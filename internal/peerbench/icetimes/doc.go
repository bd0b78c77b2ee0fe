// Package icetimes measures how long two ICE agents of one implementation take to connect,
// in real time on loopback, in the same run for each:
//
//	go test ./icetimes -run '^$' -bench Connect -benchtime 20x
//
// from the folder of the module internal/peerbench. [Contestants] is the table of
// implementations; a new one is a [Contestant] and a line there.
package icetimes
